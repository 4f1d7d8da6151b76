"""Whose weights these are, by the names of their tensors, and which of them are the encoder of a modality.

| layout | names | source |
|---|---|---|
| `cromss-middle` | `[net.]encoder1.*` (S1), `[net.]encoder.*` (S2), one decoder | zhu-xlab/CromSS, ours |
| `cromss-late` | `[net.]model1.encoder.*` (S1), `[net.]model2.encoder.*` (S2) | zhu-xlab/CromSS, ours |
| `network` | `[net.]encoder.*`, `decoder.*` | ours, of one modality; segmentation-models-pytorch |
| `moco` | `module.encoder_q.*` | zhu-xlab/SSL4EO-S12, MoCo v2 |
| `moco-v3` | `module.base_encoder.*` | zhu-xlab/SSL4EO-S12, MoCo v3 |
| `dino` | `[module.]backbone.*` under `teacher` | zhu-xlab/SSL4EO-S12, DINO |
| `decur` | `[module.]backbone_1.*` (S1), `[module.]backbone_2.*` (S2) | zhu-xlab/DeCUR |
| `encoder` | `conv1.weight`, `layer1.*`, ... | torchvision, timm's ResNets, exported encoders |
| `vit` | `patch_embed.*`, `blocks.*`, ... | zhu-xlab/SSL4EO-S12, MAE (under `model`); timm |
| `timm` | any, where the encoder is one of timm: its own names, or those of its features | timm |

Of vision transformers, in any of these layouts, the last norm is left out (`noldo.models.vision_transformer`), as are MAE's decoder
and heads of other tasks.

All but the first two were tested on files that tests write by these names; the originals could not be had.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import torch

from noldo.errors import WeightsError

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Layout:
    """Names of one kind of file."""

    name: str
    marks: tuple[str, ...]
    """A file is of this layout if each of these begins some name in it."""
    prefixes: Mapping[str, str]
    """Modality to what stands before the names of its encoder; `*`: of any."""


LAYOUTS = (
    Layout(
        "cromss-middle", ("encoder1.", "encoder.", "decoder."), {"s1_grd": "encoder1.", "s2_l1c": "encoder."}
    ),
    Layout(
        "cromss-late",
        ("model1.encoder.", "model2.encoder."),
        {"s1_grd": "model1.encoder.", "s2_l1c": "model2.encoder."},
    ),
    Layout("network", ("encoder.", "decoder."), {"*": "encoder."}),
    Layout("moco", ("encoder_q.",), {"*": "encoder_q."}),
    Layout("moco-v3", ("base_encoder.",), {"*": "base_encoder."}),
    Layout("decur", ("backbone_1.", "backbone_2."), {"s1_grd": "backbone_1.", "s2_l1c": "backbone_2."}),
    Layout("dino", ("backbone.",), {"*": "backbone."}),
    Layout("encoder", ("conv1.weight", "layer1."), {"*": ""}),
    Layout("vit", ("patch_embed.", "blocks.0."), {"*": ""}),
    Layout("timm", ("model.",), {"*": ""}),
)
"""The first that fits counts."""

_PATCHES = "patch_embed.proj.weight"
"""In vision transformers: (width, bands, patch, patch)."""

_NOT_OF_ENCODER = ("norm.", "fc_norm.", "head.", "head_dist.", "mask_token", "decoder_")
"""What begins names in vision transformers that the encoder here does without."""

_SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge"}
"""Width to the word for it in timm's names."""

_WRAPPING = ("module.", "net.", "_orig_mod.", "_forward_module.")
"""What training loops put before every name."""


def unwrapped(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The same without what training loops put before all names."""
    found = dict(tensors)
    while found:
        prefix = next((one for one in _WRAPPING if all(name.startswith(one) for name in found)), None)
        if prefix is None:
            break
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def encoder_tensors(
    tensors: Tensors, *, modality: str, where: str, own: Set[str] = frozenset()
) -> tuple[str, dict[str, torch.Tensor]]:
    """Name of the layout, and the encoder's tensors by their own names.

    Parameters
    ----------
    own
        Names in the encoder that they are for: timm names the same tensor in two ways.

    Raises
    ------
    WeightsError
        If no layout fits, or it has no encoder of this modality.
    """
    plain = unwrapped(tensors)
    layout = _layout_of(list(plain))
    if (layout is None or layout.name == "encoder") and (renamed := _as_features(plain, own)):
        return "timm", renamed
    if layout is None:
        raise WeightsError(
            f"{where}: none of the layouts that are read ({', '.join(one.name for one in LAYOUTS)}); its first names are "
            f"{', '.join(list(plain)[:3])}"
        )
    prefix = layout.prefixes.get(modality, layout.prefixes.get("*"))
    if prefix is None:
        raise WeightsError(
            f"{where}: layout {layout.name} has encoders of {', '.join(layout.prefixes)}, not of {modality}"
        )
    chosen = {name[len(prefix) :]: value for name, value in plain.items() if name.startswith(prefix)}
    if _PATCHES in chosen:
        return layout.name, _of_transformer(chosen, where=where, own=own)
    return layout.name, chosen


def _of_transformer(tensors: Tensors, *, where: str, own: Set[str]) -> dict[str, torch.Tensor]:
    """A vision transformer's tensors by the names that they have in the encoder."""
    if own and f"model.{_PATCHES}" not in own:
        width, patch = tensors[_PATCHES].shape[0], tensors[_PATCHES].shape[-1]
        size = _SIZES.get(width, "SIZE")
        raise WeightsError(
            f"{where}: weights of a vision transformer {width} wide with patches of {patch} px, and the encoder is none; "
            f"write `encoder: tu-vit_{size}_patch{patch}_224` with framework fpn, upernet or unet"
        )
    return {f"model.{name}": value for name, value in tensors.items() if not name.startswith(_NOT_OF_ENCODER)}


def _as_features(plain: Tensors, own: Set[str]) -> dict[str, torch.Tensor]:
    """A timm model's tensors by the names that they have in timm's extractor of features: `model.stages_0` for `stages.0`.

    Empty, unless the encoder is such an extractor and each of its tensors is there.
    """
    if not own or not all(name.startswith("model.") for name in own):
        return {}
    found: dict[str, torch.Tensor] = {}
    for name, value in plain.items():
        head, _, rest = name.partition(".")
        for candidate in (f"model.{name}", f"model.{head}_{rest}"):
            if candidate in own:
                found[candidate] = value
    return found if found.keys() >= {name for name in own if not name.endswith("num_batches_tracked")} else {}


def _layout_of(names: Sequence[str]) -> Layout | None:
    fits = (one for one in LAYOUTS if all(any(name.startswith(mark) for name in names) for mark in one.marks))
    return next(fits, None)
