"""What a recipe may say of the correction of labels: a name, and the parameters that this correction has.

Defaults are the published ones; formulas and sources are in `noldo.method.correction` and `noldo.method.early_learning`.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from noldo.frozen import Frozen
from noldo.method.early_learning import MIN_EPOCHS, WINDOWS, first_possible

Window = Annotated[int, Field(ge=MIN_EPOCHS)]


class ByTeacher(Frozen):
    """What all of them have: a teacher that follows the network."""

    decay: float = Field(default=0.999, ge=0, le=1, description="Share of the teacher that stays in a step.")

    def first_epoch(self) -> int:
        """Epochs that are learnt before any label can be corrected."""
        return MIN_EPOCHS


class Adele(ByTeacher):
    """Class by class, once its IoU on the noisy labels rises slowly, labels that the teacher contradicts are replaced."""

    name: Literal["adele"] = "adele"
    fall: float = Field(
        default=0.9, gt=0, lt=1, description="r: a class begins when its slope fell by more than this share."
    )
    confidence: float = Field(
        default=0.8, ge=0, lt=1, description="The teacher's highest probability has to be above it."
    )
    classes: Literal["predicted", "both"] = Field(
        default="predicted",
        description="What has to be of a class that began: the predicted class, or it and the label that it replaces.",
    )
    scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = Field(
        default=(0.7, 1.0, 1.5),
        min_length=1,
        description="Sizes at which the teacher looks; its probabilities are averaged.",
    )
    consistency_weight: float = Field(
        default=0.0,
        ge=0,
        description="Of the divergence between the network's predictions at these scales; published: 1. Three scales take about four "
        "times as long. On one device only.",
    )


class ByAccuracy(ByTeacher):
    """Begins once for all classes, at an epoch that is given, or when AIO2's rule finds one in the curve of training accuracy.

    AIO2 then goes back to the weights of the epoch found, which lies before. Here nothing is loaded again: correction begins with
    the teacher as it is when the rule has found it.
    """

    from_epoch: int | None = Field(
        default=None,
        ge=1,
        description="Epochs that are learnt before; null: until AIO2's rule finds a place to begin. Weights are not set back to it.",
    )
    windows: tuple[Window, ...] = Field(
        default=WINDOWS,
        min_length=1,
        description="Epochs over which that rule takes slopes. It needs the longest and more than their mean; shorter ones for a short run "
        "are yours to choose.",
    )

    def first_epoch(self) -> int:
        """Epochs that are learnt before any label can be corrected."""
        return first_possible(self.windows) if self.from_epoch is None else self.from_epoch


class Objects(ByAccuracy):
    """Predicted objects are added where nothing is labelled (AIO2's O2C); labels are never taken away."""

    name: Literal["objects"] = "objects"
    background: tuple[str, ...] = Field(
        default=(),
        description="Classes that are no objects, beside what has no label (255): there, too, objects are added.",
    )
    confidence: float = Field(
        default=0.5, ge=0, lt=1, description="Pixels of an object have a probability above it."
    )
    soften_px: int = Field(
        default=5,
        ge=1,
        description="Side of the box by which labels count less at the border of an added object; odd; 1: all alike.",
    )

    @model_validator(mode="after")
    def _a_box_has_a_middle(self) -> Self:
        if self.soften_px % 2 == 0:
            raise ValueError(f"soften_px {self.soften_px}: expected an odd number of pixels")
        return self


class Pixels(ByAccuracy):
    """Labels that the teacher contradicts are replaced, pixel by pixel."""

    name: Literal["pixels"] = "pixels"
    confidence: float = Field(
        default=0.8, ge=0, lt=1, description="The teacher's highest probability has to be above it."
    )


CorrectionKeys = Annotated[Adele | Objects | Pixels, Field(discriminator="name")]
