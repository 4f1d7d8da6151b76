"""What this project assumes about the pixels of its imagery source, each as a pure check of what was observed.

A wrong assumption here would fill the store with wrong numbers, or spend the quota on requests that fail.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from builders.check_result import CheckResult, judged, not_observed
from builders.metadata import HARMONIZED_BASELINE, leading_product
from builders.records import DYNAMIC_WORLD, S2_L2A
from builders.request_size import LIMIT_BYTES, SAFE_SHARE
from builders.source_observations import Observations, Patch
from builders.stack import Layer
from noldo.products import S2_RESOLUTION_M

OFFSET = 1000
"""What Sentinel-2 numbers carry from processing baseline 04.00 on, unless it is taken off."""

_TOO_LARGE = "must be less than or equal to"
"""Part of Earth Engine's words for a request above the limit, by which it is told from others."""


def check_dtypes(observed: Observations) -> CheckResult:
    """NPY keeps a dtype of its own for every band, little endian, in the order of the request."""
    problems: list[str] = []
    for patch in observed.patches:
        names = tuple(band.name for layer in patch.layers for band in layer.bands)
        if patch.stack.dtype.names != names:
            problems.append(f"bands {patch.stack.dtype.names}, asked for {names}")
            continue
        problems += [
            f"{name} is {patch.stack.dtype[name].str}, asked for {wanted.str}"
            for name, wanted in _wanted_dtypes(patch.layers).items()
            if patch.stack.dtype[name] != wanted
        ]
    dtypes = [patch.stack.dtype for patch in observed.patches]
    kinds = sorted({dtype[name].str for dtype in dtypes for name in dtype.names or ()})
    return judged(
        "dtypes",
        expected="uint16, uint8 and float32 side by side, little endian, in the order asked for",
        problems=problems,
        seen=f"{', '.join(kinds)} in {len(observed.patches)} answers",
        is_observed=bool(observed.patches),
    )


def _wanted_dtypes(layers: Sequence[Layer]) -> dict[str, np.dtype[np.generic]]:
    return {band.name: np.dtype(layer.dtype).newbyteorder("<") for layer in layers for band in layer.bands}


_PRECISIONS = {"s1_grd": {"FLOAT", "DOUBLE"}, f"{DYNAMIC_WORLD}.water": {"FLOAT", "DOUBLE"}}
_LARGEST = {f"{S2_L2A}.SCL": 255, f"{DYNAMIC_WORLD}.label": 255}


def check_stored_types(observed: Observations) -> CheckResult:
    """Bands are stored in types that the dtypes asked for can hold."""
    problems = []
    for name, data_type in observed.data_types.items():
        wanted = _PRECISIONS.get(name) or _PRECISIONS.get(name.split(".")[0], {"INT"})
        largest = _LARGEST.get(name, 65535)
        found = data_type.get("precision")
        if found not in wanted:
            problems.append(f"{name} is {found}")
        elif found == "INT" and data_type.get("range", {}).get("max", 0) > largest:
            problems.append(f"{name} goes up to {data_type['range']['max']}")
    return judged(
        "stored-types",
        expected="reflectance in 16 bits, classes in 8, backscatter as floating point",
        problems=problems,
        seen=", ".join(
            f"{name} {data['precision']}" for name, data in observed.data_types.items() if not problems
        ),
        is_observed=bool(observed.data_types),
    )


def check_fill(observed: Observations) -> CheckResult:
    """Unobserved pixels get the value that was asked for, also beyond the footprint."""
    outside = observed.outside
    if outside is None:
        return not_observed("fill", "unobserved pixels are 65535, 255 or -9999")
    problems = [
        f"{layer.product} {band.source} is {outside.stack[band.name].flat[0]}, asked for {layer.no_data:g}"
        for layer in outside.layers
        for band in layer.bands
        if not (outside.stack[band.name] == layer.no_data).all()
    ]
    raw = "refused" if outside.stored is None else f"{np.unique(outside.stored)[:3].tolist()}"
    return judged(
        "fill",
        expected="unobserved pixels are 65535, 255 or -9999, also beyond the footprint",
        problems=problems,
        seen=f"so they are; unasked, the provider fills with {raw}",
        is_observed=True,
    )


def check_size_limit(observed: Observations) -> CheckResult:
    """The limit of a request is where this project's accounting puts it, mask byte included."""
    expected = (
        f"{SAFE_SHARE:.0%} of {LIMIT_BYTES} bytes are answered, more than all is refused in the known words"
    )
    if not observed.sizes:
        return not_observed("size-limit", expected)
    problems = []
    for trial in observed.sizes:
        share = trial.counted_bytes / LIMIT_BYTES
        if share <= SAFE_SHARE and trial.refusal:
            problems.append(f"{trial.counted_bytes} bytes ({share:.2%}) were refused: {trial.refusal}")
        if share > 1 and not trial.refusal:
            problems.append(f"{trial.counted_bytes} bytes ({share:.2%}) were answered: the limit is higher")
        if share > 1 and trial.refusal and _TOO_LARGE not in trial.refusal:
            problems.append(f"above the limit it said: {trial.refusal}")
    words = ", ".join(
        f"{trial.counted_bytes / LIMIT_BYTES:.3%} {'refused' if trial.refusal else 'answered'}"
        for trial in observed.sizes
    )
    refusals = [trial.refusal for trial in observed.sizes if trial.refusal]
    return judged(
        "size-limit",
        expected=expected,
        problems=problems,
        seen=f"{words}; {refusals[0] if refusals else ''}",
        is_observed=True,
    )


def check_copies_north(observed: Observations) -> CheckResult:
    """North of the equator, bands of 10, 20 and 60 m come as copies of the stored pixels."""
    return _copies(
        observed, "copies-north", [p for p in observed.patches if p.location.grid.crs_epsg < 32700]
    )


def check_copies_south(observed: Observations) -> CheckResult:
    """South of the equator, too, where the lattice has another offset."""
    return _copies(
        observed, "copies-south", [p for p in observed.patches if p.location.grid.crs_epsg >= 32700]
    )


def _copies(observed: Observations, name: str, patches: Sequence[Patch]) -> CheckResult:
    compared = [patch for patch in patches if patch.stored or patch.misplaced]
    problems = [problem for patch in compared for problem in _copy_problems(patch, observed)]
    bands = sorted({band for patch in compared for band in patch.stored})
    return judged(
        name,
        expected="10, 20 and 60 m bands are the stored pixels, in blocks of 1, 2 x 2 and 6 x 6",
        problems=problems,
        seen=f"{', '.join(bands)} of {len(compared)} scenes, pixel by pixel",
        is_observed=bool(compared),
    )


def _copy_problems(patch: Patch, observed: Observations) -> list[str]:
    where = f"{patch.choice.s2_index}"
    problems = [f"{where} {band}: its pixels do not fall on the patch's" for band in patch.misplaced]
    for layer in patch.layers:
        for band in layer.bands:
            if layer.product != leading_product(observed.config) or band.source not in patch.stored:
                continue
            fine = patch.stack[band.name]
            factor = S2_RESOLUTION_M[band.source] // 10
            copied = patch.stored[band.source].repeat(factor, axis=0).repeat(factor, axis=1)
            if copied.shape != fine.shape:
                problems.append(f"{where} {band.source}: {copied.shape} pixels, expected {fine.shape}")
                continue
            wrong = int(((fine != copied) & (fine != layer.no_data)).sum())
            if wrong:
                problems.append(f"{where} {band.source}: {wrong} of {fine.size} pixels are no copies")
    return problems


def check_baseline(observed: Observations) -> CheckResult:
    """The +1000 of baseline 04.00 is taken off where it was added, and nowhere else."""
    lead = leading_product(observed.config)
    shifted = [patch for patch in observed.patches if patch.choice.offset_removed]
    others = [patch for patch in observed.patches if not patch.choice.offset_removed]
    lows = [_lowest(patch, lead) for patch in shifted]
    problems = [
        f"{patch.choice.s2_index}: no value below {low}, as if +{OFFSET} were still in it"
        for patch, low in zip(shifted, lows, strict=True)
        if low >= OFFSET
    ]
    problems += [
        f"{patch.choice.s2_index}: {share:.0%} zeros, as if {OFFSET} were taken off twice"
        for patch in observed.patches
        if (share := _zero_share(patch, lead)) > 0.5
    ]
    return judged(
        "baseline",
        expected=f"scenes from baseline {HARMONIZED_BASELINE:05.2f} on have values below {OFFSET} again, "
        "and none is clamped to zero",
        problems=problems,
        seen=f"{len(shifted)} shifted back, lowest value {min(lows, default=0)}; {len(others)} never shifted",
        is_observed=bool(shifted),
    )


def _planes(patch: Patch, product: str) -> list[np.ndarray]:
    """Observed pixels of each band of a product."""
    return [
        patch.stack[band.name][patch.stack[band.name] != layer.no_data]
        for layer in patch.layers
        for band in layer.bands
        if layer.product == product
    ]


def _lowest(patch: Patch, product: str) -> int:
    return min((int(plane.min()) for plane in _planes(patch, product) if plane.size), default=0)


def _zero_share(patch: Patch, product: str) -> float:
    """Share of zeros in the band that has fewest: one band may well be dark, all are not."""
    return min((float((plane == 0).mean()) for plane in _planes(patch, product) if plane.size), default=0.0)


def check_s1_lattice(observed: Observations) -> CheckResult:
    """Sentinel-1 lies on 10 m pixels of a UTM zone; where exactly is recorded, because it is resampled."""
    utm = re.compile(r"EPSG:32[67]\d\d")
    origins = Counter((one.x_ul % 10, one.y_ul % 10) for one in observed.s1_lattices)
    return judged(
        "s1-lattice",
        expected="10 m pixels in a UTM zone",
        problems=[
            f"{one.index}: {one.size_m:g} m in {one.crs}"
            for one in observed.s1_lattices
            if one.size_m != 10 or not utm.fullmatch(one.crs)
        ],
        seen=f"{len(observed.s1_lattices)} scenes; origins modulo 10 m: "
        + ", ".join(f"({x:g}, {y:g}) {number}x" for (x, y), number in sorted(origins.items())),
        is_observed=bool(observed.s1_lattices),
    )
