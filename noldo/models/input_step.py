"""From a batch as stored to what networks take: one tensor a modality, on one grid, 0..1.

Part of the model, so that native-resolution integers cross to the device, and upsampling happens there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import nn

from noldo.bands import BandChoice, chosen_bands
from noldo.byte_images import BYTE_IMAGES, observed_key
from noldo.errors import ConfigError
from noldo.products import S1_BANDS, S2_L1C_BANDS, S2_L2A_BANDS
from noldo.quantization import SSL4EO_UINT8, band_ranges
from noldo.tensors import REFLECTANCE_PER_STEP, Place, on_one_grid

Inputs = Literal["scaled", "compat"]

_EVERYTHING = {
    **{"s1_grd": S1_BANDS, "s2_l1c": S2_L1C_BANDS, "s2_l2a": S2_L2A_BANDS},
    **{name: image.bands for name, image in BYTE_IMAGES.items()},
}
_TOP_BYTE = 255


class InputStep(nn.Module):
    """Normalisation as in CromSS: clipped to mean +- 2 standard deviations of SSL4EO-S12, then 0..1.

    Pixels without data become the mean (0.5). Images of bytes (`noldo.byte_images`) are divided by 255, and their pixels without
    data become their own mean. It has no weights: nothing of it is in a state dict.

    Parameters
    ----------
    modalities
        `s1_grd`, `s2_l1c`, `s2_l2a`, or one of `noldo.byte_images`.
    bands
        Of Sentinel-2, as in `NoldoS12`; None: all.
    kind
        `scaled`; or `compat`: truncated to bytes, then / 255, exactly what the authors' networks were trained on.

    Raises
    ------
    ConfigError
        If a modality or a band is unknown.
    """

    def __init__(
        self, modalities: Sequence[str], *, bands: BandChoice = None, kind: Inputs = "scaled"
    ) -> None:
        super().__init__()
        if kind not in get_args(Inputs):
            raise ConfigError(f"inputs {kind!r}: expected one of {', '.join(get_args(Inputs))}")
        if unknown := set(modalities) - set(_EVERYTHING):
            raise ConfigError(
                f"modality {', '.join(sorted(unknown))}: networks take {', '.join(_EVERYTHING)}"
            )
        self.modalities = tuple(modalities)
        self._choice = bands
        self._kind = kind
        for modality in self.modalities:
            if modality in BYTE_IMAGES:
                fill = torch.tensor(BYTE_IMAGES[modality].fill)[:, None, None]
                self.register_buffer(f"_{modality}_fill", fill, persistent=False)
                continue
            ranges = band_ranges(SSL4EO_UINT8, product=modality, bands=self.bands(modality))
            low = torch.tensor([one.low for one in ranges])[:, None, None]
            width = torch.tensor([4 * one.std for one in ranges])[:, None, None]
            self.register_buffer(f"_{modality}_low", low, persistent=False)
            self.register_buffer(f"_{modality}_width", width, persistent=False)

    def bands(self, modality: str) -> tuple[str, ...]:
        """Names along the band axis of what comes out."""
        everything = _EVERYTHING[modality]
        if modality == "s1_grd" or modality in BYTE_IMAGES or self._choice is None:
            return everything
        return chosen_bands(self._choice, product=modality, stored=everything)

    def forward(self, batch: Mapping[str, Any], place: Place | None = None) -> dict[str, torch.Tensor]:
        """Modality to (N, B, Y, X) float32, 0..1.

        Parameters
        ----------
        place
            Which pixels of the 10 m grid are wanted (`noldo.tensors.on_one_grid`); None: all.

        Raises
        ------
        ConfigError
            If the batch lacks a modality or was loaded with other bands.
        """
        return {modality: self._image(batch, modality, place) for modality in self.modalities}

    def _image(self, batch: Mapping[str, Any], modality: str, place: Place | None) -> torch.Tensor:
        if modality in BYTE_IMAGES:
            return self._byte_image(batch, modality, place)
        bands = None if modality == "s1_grd" else self._choice
        values = on_one_grid(batch, modality, bands=bands, place=place)
        if modality != "s1_grd":
            values = values / REFLECTANCE_PER_STEP
        low: torch.Tensor = getattr(self, f"_{modality}_low")
        width: torch.Tensor = getattr(self, f"_{modality}_width")
        if f"{modality}_uint8_10m" in batch:
            # Bytes stand for the low end of their step: rounding gives back the byte itself.
            return ((values - low) / width * _TOP_BYTE).round() / _TOP_BYTE
        if modality != "s1_grd" and self._kind == "compat":
            values = values.round()  # stored as whole numbers; the way to reflectance and back is not exact
        scaled = torch.nan_to_num(((values - low) / width).clamp(0, 1), nan=0.5)
        if self._kind == "compat":
            return (scaled * _TOP_BYTE).trunc() / _TOP_BYTE
        return scaled

    def _byte_image(self, batch: Mapping[str, Any], modality: str, place: Place | None) -> torch.Tensor:
        key = observed_key(modality)
        if modality not in batch or key not in batch:
            raise ConfigError(f"{modality} and {key} are not both in the batch, which has {', '.join(batch)}")
        image, observed = batch[modality], batch[key].unsqueeze(-3)
        if place is not None:
            image, observed = place(image, 1), place(observed, 1)
        fill: torch.Tensor = getattr(self, f"_{modality}_fill")
        return torch.where(observed, image / _TOP_BYTE, fill)
