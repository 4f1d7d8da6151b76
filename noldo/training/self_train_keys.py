"""What a recipe may say of self-training; defaults are those of the DFC2025 track 1 winner (arXiv 2504.13458 and its released code)."""

from typing import Literal, Self

from pydantic import Field, model_validator

from noldo.frozen import Frozen


class Trust(Frozen):
    """How far the teacher's labels are trusted (`noldo.method.trust`)."""

    kind: Literal["fraction-above", "mean-confidence", "pixel", "none"] = Field(
        default="fraction-above",
        description="Share of pixels of confidence tau or more, mean confidence, 1 or 0 of each pixel by tau, or 1.",
    )
    tau: float = Field(default=0.968, ge=0, le=1, description="Confidence of fraction-above and pixel.")
    scope: Literal["image", "batch"] = Field(
        default="image",
        description="Whose pixels are counted; batch: as in DACS. Of no meaning to pixel and none.",
    )


class ResolutionAlignment(Frozen):
    """Source images that lose resolution (`noldo.method.resolution`)."""

    chance: float = Field(default=0.2, ge=0, le=1, description="Of each sample.")
    low: float = Field(default=0.1, gt=0, le=1, description="Least r: the side is reduced to r times itself.")
    high: float = Field(default=0.35, gt=0, le=1, description="Largest r.")
    max_zoom: float = Field(
        default=3.0, ge=1, description="Enlarged by 1 to this, then cropped; 1: objects keep their size."
    )

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class StrongAugmentation(Frozen):
    """What is done to mixed images (`noldo.method.strong`)."""

    jitter: float = Field(default=0.5, ge=0, le=1, description="Chance of brightness and contrast, a step.")
    strength: float = Field(default=0.2, ge=0, le=1, description="Factors are uniform within 1 +- this.")
    blur: float = Field(default=0.5, ge=0, le=1, description="Chance of a Gaussian blur, a step.")


class RareClasses(Frozen):
    """Rare class sampling of the source (DAFormer, Hoyer et al., CVPR 2022, arXiv 2111.14887)."""

    temperature: float = Field(
        default=0.01, gt=0, description="T of P(c) ~ exp((1 - f_c) / T), f_c the share of class c."
    )


class SelfTraining(Frozen):
    """How an unlabelled target is learnt from."""

    teacher_decay: float = Field(
        default=0.999, ge=0, le=1, description="Of the teacher's weights in their running mean, a step."
    )
    trust: Trust = Trust()
    resolution: ResolutionAlignment | None = Field(
        default=ResolutionAlignment(), description="null: the source is as it is."
    )
    strong: StrongAugmentation | None = Field(
        default=StrongAugmentation(), description="null: mixed images are as they are."
    )
    rare_classes: RareClasses | None = Field(
        default=None,
        description="Locations of the source by their rare classes; null: all alike, each once a pass.",
    )
