"""Encoders in and out: weights of any known layout into an encoder, our own as safetensors with a model card."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from noldo.atomic import atomic_file
from noldo.byte_images import BYTE_IMAGES
from noldo.errors import WeightsError
from noldo.models.frameworks import bare_encoder
from noldo.quantization import SSL4EO_UINT8, band_ranges
from noldo.weights.layouts import encoder_tensors
from noldo.weights.restricted_checkpoint import read_checkpoint

METADATA_KEY = "noldo"
"""In the header of the safetensors file: JSON of an `EncoderCard`."""

_IGNORED = ("fc.", "head.", "classifier.", "projector.", "predictor.")
"""Heads of other tasks."""

NUM_SHOWN = 3


@dataclass(frozen=True)
class Matched:
    """What became of each tensor."""

    file: str
    """Its name."""
    sha256: str
    layout: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    """Of the encoder, not in the file."""
    unexpected: tuple[str, ...]
    """In the file, not of the encoder; heads of other tasks are not counted."""
    reshaped: tuple[str, ...]
    """Of another shape, with both."""

    def __str__(self) -> str:
        return f"layout {self.layout}: {len(self.loaded)} tensors loaded{self.differences()}"

    def summary(self) -> dict[str, Any]:
        """What a result tells of it."""
        counts = {what: len(getattr(self, what)) for what in ("loaded", "missing", "unexpected", "reshaped")}
        return {"file": self.file, "sha256": self.sha256, "layout": self.layout, **counts}

    def differences(self) -> str:
        """What did not match, a few names of each; empty if all did."""
        parts = [""]
        for what in ("missing", "unexpected", "reshaped"):
            names: tuple[str, ...] = getattr(self, what)
            if names:
                shown = ", ".join(names[:NUM_SHOWN]) + (", ..." if len(names) > NUM_SHOWN else "")
                parts.append(f"{len(names)} {what} ({shown})")
        return "; ".join(parts)


@dataclass(frozen=True)
class EncoderCard:
    """What one has to know to use an encoder."""

    encoder: str
    """resnet50, or another name that `noldo.models.frameworks` takes."""
    modality: str
    bands: tuple[str, ...]
    """In the order of the first convolution."""
    inputs: str
    """Normalisation: `scaled` or `compat`, see `noldo.models.input_step`."""
    source: str
    """Which run or file it is from."""
    epoch: int | None = None
    """Epochs of that run."""
    sha256: str = ""
    """Of the file that the weights were read from."""


def encoder_file(path: Path) -> Path:
    """A file of weights; of the folder of a finished run, the checkpoint that its result is of.

    Raises
    ------
    WeightsError
        If a folder is none of a finished run.
    """
    if not path.is_dir():
        return path
    if not (path / "result.json").is_file():
        raise WeightsError(
            f"{path}: not the folder of a finished run; run it to its end, or give one of its checkpoints"
        )
    best = path / "checkpoints" / "best.pt"
    return best if best.is_file() else best.with_name("last.pt")


def told_by_run(path: Path) -> dict[str, Any] | None:
    """What a finished run says of its encoder: `encoder`, `bands`, `inputs`, `epoch`; None: no folder of a run."""
    if not (path / "recipe.json").is_file():
        return None
    encoder_file(path)
    try:
        recipe = json.loads((path / "recipe.json").read_text(encoding="utf-8"))
        result = json.loads((path / "result.json").read_text(encoding="utf-8"))
        epoch = result.get("weights_of_epoch", result["epochs"])
        told = {key: recipe["data"][key] for key in ("bands", "inputs")}
        return {"encoder": recipe["encoder"], "epoch": epoch, **told}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path}: recipe.json or result.json can't be read ({error!r}); give one of its checkpoints"
        ) from None


def load_into_encoder(encoder: nn.Module, path: Path, *, modality: str) -> Matched:
    """Load a file's encoder of a modality into an encoder; nothing is changed unless all of it fits.

    Raises
    ------
    WeightsError
        If the file can't be read, or is of another architecture or other bands.
    """
    file = encoder_file(path)
    own = encoder.state_dict()
    found = read_checkpoint(file).tensors
    layout, tensors = encoder_tensors(found, modality=modality, where=str(file), own=frozenset(own))
    matched = match(encoder, tensors, layout=layout, file=file)
    if matched.missing or matched.reshaped:
        raise WeightsError(
            f"{file}: not an encoder of this kind for {modality}, so nothing was loaded: layout {layout}, "
            f"{len(matched.loaded)} tensors fit{matched.differences()}; check encoder and bands"
        )
    if broken := [name for name in matched.loaded if not tensors[name].isfinite().all()]:
        raise WeightsError(
            f"{file}: {broken[0]} has values that are no numbers, as have {len(broken) - 1} more; take an older checkpoint"
        )
    # In place: smp's encoders refuse names that they drop themselves (`fc`).
    with torch.no_grad():
        for name in matched.loaded:
            own[name].copy_(tensors[name])
    return matched


def match(encoder: nn.Module, tensors: Mapping[str, torch.Tensor], *, layout: str, file: Path) -> Matched:
    """Compare names and shapes."""
    own = encoder.state_dict()
    known = {name: value for name, value in tensors.items() if not name.startswith(_IGNORED)}
    reshaped = [
        f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
        for name, value in known.items()
        if name in own and value.shape != own[name].shape
    ]
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    return Matched(
        file=file.name,
        sha256=sha256,
        layout=layout,
        loaded=tuple(name for name in known if name in own and known[name].shape == own[name].shape),
        # A count of steps that old versions of PyTorch did not write; it changes nothing.
        missing=tuple(name for name in own if name not in known and not name.endswith("num_batches_tracked")),
        unexpected=tuple(name for name in known if name not in own),
        reshaped=tuple(reshaped),
    )


def save_encoder(encoder: nn.Module, path: Path, *, card: EncoderCard) -> None:
    """Write an encoder as safetensors, and its model card beside it (`.md`)."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    with atomic_file(path) as file:
        file.write(save(tensors, metadata={METADATA_KEY: json.dumps(vars(card), sort_keys=True)}))
    with atomic_file(path.with_suffix(".md")) as file:
        file.write(card_text(card, num_parameters=sum(one.numel() for one in encoder.parameters())).encode())


def read_card(path: Path) -> EncoderCard:
    """The card of an encoder that `save_encoder` wrote.

    Raises
    ------
    WeightsError
        If the file is none of those.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tree = json.loads((file.metadata() or {})[METADATA_KEY])
        return EncoderCard(**{**tree, "bands": tuple(tree["bands"])})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        raise WeightsError(
            f"{path}: not an encoder that `noldo encoder` wrote; other weights are loaded by recipes (key weights)"
        ) from None


def load_encoder(path: str | Path) -> nn.Module:
    """An encoder that `noldo encoder` wrote, ready to use: from (N, B, Y, X) to a list of features.

    Features are those of the image itself and of strides 2, 4, 8, 16 and 32 (of vision transformers, the one of stride 2 has no
    channels). What goes in is told by `read_card`.

    Raises
    ------
    WeightsError
        If it is none, or its tensors are not those of its card.
    """
    card = read_card(Path(path))
    encoder = bare_encoder(card.encoder, num_bands=len(card.bands))
    load_into_encoder(encoder, Path(path), modality=card.modality)
    return encoder.eval()


def _ranges_table(card: EncoderCard) -> str:
    """What becomes 0 and what becomes 1, band by band, in the unit of the stored numbers."""
    if card.modality in BYTE_IMAGES:
        lines = "".join(f"| {band} | 0 | 255 |\n" for band in card.bands)
        return f"| band | 0 (byte) | 1 (byte) |\n|---|---|---|\n{lines}"
    ranges = band_ranges(SSL4EO_UINT8, product=card.modality, bands=card.bands)
    unit = "dB" if card.modality == "s1_grd" else "reflectance x 10,000"
    rows = [
        f"| {band} | {one.low:.2f} | {one.low + 4 * one.std:.2f} |\n"
        for band, one in zip(card.bands, ranges, strict=True)
    ]
    return f"| band | 0 ({unit}) | 1 ({unit}) |\n|---|---|---|\n" + "".join(rows)


def card_text(card: EncoderCard, *, num_parameters: int) -> str:
    """The model card, as markdown."""
    trained = "" if card.epoch is None else f", {card.epoch} epochs"
    digest = f", SHA-256 {card.sha256}" if card.sha256 else ""
    how = (
        "bytes / 255, no data their mean (`noldo.byte_images`)"
        if card.modality in BYTE_IMAGES
        else f"`{card.inputs}` of `noldo.models.input_step` (clipped to mean ± 2 standard deviations of SSL4EO-S12, 0..1)"
    )
    return (
        f"# {card.encoder} encoder for {card.modality}\n\n"
        f"* parameters: {num_parameters:,}\n"
        f"* bands, in the order of the first convolution: {', '.join(card.bands)}\n"
        f"* inputs: {how}\n"
        f"* from: {card.source}{trained}{digest}\n\n"
        f"{_ranges_table(card)}\n"
        "```python\n"
        "from noldo.weights.encoders import load_encoder\n\n"
        'encoder = load_encoder("encoder.safetensors")\n'
        "features = encoder(images)  # (N, bands, Y, X) -> strides 1, 2, 4, 8, 16, 32\n"
        "```\n"
    )
