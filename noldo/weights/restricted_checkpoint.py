"""Files of weights from others, read without running anything that is in them.

A torch file is a pickle, and a pickle can name any function and have it called. Here a file is looked at first (what it
would import, how large its parts are), then read by torch's own unpickler for weights, which never looks names up but
knows tensors, containers and plain values. The one class admitted beside them is `argparse.Namespace`, which holds the arguments of a run in the
published checkpoints of CromSS and has no behaviour of its own. Safetensors files hold no code at all.
"""

import argparse
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from noldo.errors import WeightsError

STATE_KEYS = ("state_dict", "model", "network", "teacher", "student")
"""Where files keep their tensors: Lightning and MoCo, MAE and timm, our runs, DINO (whose teacher is the one to use)."""

SETTINGS = ("hyper_parameters", "args", "hparams")
"""Where files keep the arguments of their run."""

MAX_PICKLE_BYTES = 64 << 20
"""Names, shapes and plain values; a ResNet-50 with its optimiser needs under 1 MiB."""

PROTOCOL = 2
"""Of pickle; the only one that torch's unpickler for weights knows."""

MAX_MEMBERS = 100_000
"""Tensors in a file; the published ones have about 2,100."""

PLAIN = (str, int, float, bool, type(None))

ADMITTED = frozenset(
    {
        *("argparse.Namespace", "collections.OrderedDict", "collections.defaultdict", "collections.Counter"),
        *(
            "builtins.dict",
            "builtins.list",
            "builtins.set",
            "__builtin__.dict",
            "__builtin__.list",
            "__builtin__.set",
        ),
        *("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch.Size", "torch.device"),
        *(f"torch.{kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short")),
        *(f"torch.{kind}Storage" for kind in ("Char", "Byte", "Bool")),
        *("torch.float32", "torch.float64", "torch.float16", "torch.bfloat16", "torch.int64"),
    }
)
"""What a file may name. Torch admits more, of which dense weights need nothing, and what other code registered with it."""

BROKEN = (
    *(pickle.UnpicklingError, struct.error, zipfile.BadZipFile, OSError, EOFError, MemoryError),
    *(
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        AssertionError,
        OverflowError,
    ),
)
"""What torch raises on bytes that no torch has written."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a file, and what else could be said of it."""

    path: Path
    """Where it was read."""
    tensors: Mapping[str, torch.Tensor]
    """Name to tensor, on the CPU; of a torch file they are mapped, not yet read."""
    found_under: str = ""
    """Key of the file that held them; empty: the file itself."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Plain values: `epoch`, `global_step`..., and arguments of the run as `hyper_parameters.NAME`."""
    left_out: tuple[str, ...] = ()
    """Names of everything else in the file, e.g. `optimizer_states`."""


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read weights: a Lightning `.ckpt`, a `.pth` or `.pt` of tensors, or `.safetensors`.

    Parameters
    ----------
    path
        A local file. It must not change while its tensors are in use.

    Raises
    ------
    WeightsError
        If the file is missing, broken, asks for anything but tensors, containers and plain values, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give a .ckpt, .pth or .safetensors")
    if path.suffix == ".safetensors":
        return _from_safetensors(path)
    content = _unpickled(path)
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, expected a dict of tensors")
    found_under = next((key for key in STATE_KEYS if isinstance(content.get(key), dict) and content[key]), "")
    if not found_under:
        return Checkpoint(path, _checked(content, path))
    details, left_out = _told(content, found_under)
    return Checkpoint(path, _checked(content[found_under], path), found_under, details, left_out)


def _from_safetensors(path: Path) -> Checkpoint:
    import safetensors
    from safetensors.torch import load_file

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            details = dict(file.metadata() or {})
        tensors = load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path}: no whole safetensors file ({_first_line(error)}); get it again"
        ) from error
    return Checkpoint(path, tensors, details=details)


def _unpickled(path: Path) -> object:
    """Content of a torch file, once nothing in it is of a kind that could run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in text that is looked at only
            asked = _names_asked_for(_pickle_of(path))
    except WeightsError:
        raise
    except BROKEN as error:
        raise _broken(path, error) from error
    if strange := sorted(asked - ADMITTED):
        named = ", ".join(ascii(name)[1:-1][:80] for name in strange[:3])
        raise WeightsError(
            f"{path}: asks for {named}, which is neither dense tensor, container nor plain value; nothing of it was run. "
            "If you trust it, save its state dict alone as .safetensors"
        )
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about storages: what matters is checked below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except BROKEN as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: BaseException) -> WeightsError:
    return WeightsError(
        f"{path}: can't be read as weights ({_first_line(error)}); nothing of it was run. Get it again, or save its state "
        "dict alone as .safetensors"
    )


def _pickle_of(path: Path) -> bytes:
    """Names and values of a torch file; bounds hold before any of it is read. Torch stores its members as they are."""
    if not zipfile.is_zipfile(path):
        raise WeightsError(
            f"{path}: no torch file as written since version 1.6; load it where it came from and save its state dict as "
            ".safetensors"
        )
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise WeightsError(f"{path}: {len(members)} members, expected at most {MAX_MEMBERS}: no weights")
        if any(
            one.compress_type != zipfile.ZIP_STORED or one.file_size != one.compress_size for one in members
        ):
            raise WeightsError(f"{path}: a compressed member, which torch never writes: no weights")
        pickles = [one for one in members if one.filename.endswith(".pkl")]
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
            raise WeightsError(
                f"{path}: {len(pickles)} pickles of {sum(one.file_size for one in pickles)} bytes, expected one of at most "
                f"{MAX_PICKLE_BYTES}: no weights, or a whole program; save its state dict alone as .safetensors"
            )
        return archive.read(pickles[0])


def _names_asked_for(content: bytes) -> set[str]:
    """What a pickle would import, by looking at its instructions; they are not followed."""
    asked = set()
    for instruction, argument, _ in pickletools.genops(content):
        if instruction.name in ("GLOBAL", "INST"):
            asked.add(".".join(str(argument).split(" ", 1)))
        elif instruction.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            asked.add("a name made up while reading")
        elif instruction.name == "PROTO" and argument != PROTOCOL:
            asked.add(f"pickle protocol {argument} (torch writes {PROTOCOL})")
    return asked


def _checked(state: dict[Any, Any], path: Path) -> dict[str, torch.Tensor]:
    if not state:
        raise WeightsError(f"{path}: holds no tensors")
    for name, tensor in state.items():
        if not isinstance(name, str) or not _is_dense(tensor):
            raise WeightsError(
                f"{path}: {ascii(name)[:80]} is a {type(tensor).__name__}, expected dense tensors only, at the top or "
                f"under {', '.join(STATE_KEYS)}"
            )
    return {name: tensor.detach() for name, tensor in state.items()}


def _is_dense(tensor: object) -> bool:
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and isinstance(tensor, torch.Tensor)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
    )


def _told(content: Mapping[Any, Any], found_under: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Plain values beside the tensors, and names of the rest."""
    rest = {str(key): value for key, value in content.items() if key != found_under}
    settings = {name: rest.pop(name) for name in SETTINGS if name in rest}
    named = rest | dict(_flat(settings, depth=3))
    details = {name: value for name, value in named.items() if _is_plain(value)}
    return details, tuple(name for name in named if name not in details)


def _flat(settings: Mapping[Any, Any], *, depth: int, before: str = "") -> Iterator[tuple[str, Any]]:
    """Settings with dotted names; those nested deeper than `depth` as they are."""
    for key, value in settings.items():
        inner = vars(value) if isinstance(value, argparse.Namespace) else value
        if isinstance(inner, dict) and depth > 1:
            yield from _flat(inner, depth=depth - 1, before=f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(one, PLAIN) for one in value)
    return isinstance(value, PLAIN)


def _first_line(error: BaseException) -> str:
    """What went wrong, short; torch's longer advice is to trust the file."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {ascii(lines[0])[1:-1][:100]}" if lines else type(error).__name__


__all__ = ["Checkpoint", "read_checkpoint"]
