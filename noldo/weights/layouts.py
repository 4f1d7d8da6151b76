"""Whose weights these are, by the names of their tensors, and which of them are the encoder of a modality.

| layout | names | source |
|---|---|---|
| `cromss-middle` | `[net.]encoder1.*` (S1), `[net.]encoder.*` (S2), one decoder | zhu-xlab/CromSS, ours |
| `cromss-late` | `[net.]model1.encoder.*` (S1), `[net.]model2.encoder.*` (S2) | zhu-xlab/CromSS, ours |
| `network` | `[net.]encoder.*`, `decoder.*` | ours, of one modality; segmentation-models-pytorch |
| `moco` | `module.encoder_q.*` | zhu-xlab/SSL4EO-S12, MoCo v2 |
| `dino` | `[module.]backbone.*` under `teacher` | zhu-xlab/SSL4EO-S12, DINO |
| `decur` | `[module.]backbone_1.*` (S1), `[module.]backbone_2.*` (S2) | zhu-xlab/DeCUR |
| `encoder` | `conv1.weight`, `layer1.*`, ... | torchvision, timm's ResNets, exported encoders |
| `timm` | any, where the encoder is one of timm: its own names, or those of its features | timm |

Weights of vision transformers (MAE of SSL4EO-S12, and others) are not read: the decoders here need features of several strides.

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
    Layout("decur", ("backbone_1.", "backbone_2."), {"s1_grd": "backbone_1.", "s2_l1c": "backbone_2."}),
    Layout("dino", ("backbone.",), {"*": "backbone."}),
    Layout("encoder", ("conv1.weight", "layer1."), {"*": ""}),
    Layout("timm", ("model.",), {"*": ""}),
)
"""The first that fits counts."""

_TRANSFORMER = ("patch_embed.", "cls_token", "pos_embed", "blocks.0.attn.")
"""What begins names in vision transformers."""

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
    if layout is None and any(name.startswith(_TRANSFORMER) for name in plain):
        raise WeightsError(
            f"{where}: weights of a vision transformer (MAE, DINO-ViT and the like), which no decoder here takes; give those "
            "of a ResNet or of a timm model with features of several strides"
        )
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
    return layout.name, chosen


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
