"""Files of weights from strangers: read if they hold tensors, refused in one line if they ask for more."""

import argparse
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noldo.errors import WeightsError
from noldo.weights.restricted_checkpoint import read_checkpoint

torch.set_num_threads(1)


def tensors() -> dict[str, torch.Tensor]:
    return OrderedDict(a=torch.arange(6.0).reshape(2, 3), b=torch.ones(2, dtype=torch.float16))


def lightning(**more: object) -> dict[str, Any]:
    """A checkpoint as the published ones are."""
    return {
        "epoch": 199,
        "global_step": 160_400,
        "pytorch-lightning_version": "2.0.8",
        "state_dict": OrderedDict((f"net.{name}", one) for name, one in tensors().items()),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2, 3)}}}],
        "lr_schedulers": [{"factor": 0.5, "patience": 30, "best": 1.5}],
        "hparams_name": "args",
        "hyper_parameters": argparse.Namespace(lr=0.005, label_smoothing_factor=[0.15, 0.05], device=None),
        **more,
    }


def saved(content: object, path: Path, **options: object) -> Path:
    torch.save(content, path, **options)
    return path


def test_a_lightning_checkpoint_with_a_namespace_is_read(tmp_path: Path) -> None:
    found = read_checkpoint(saved(lightning(), tmp_path / "weights.ckpt"))
    assert found.found_under == "state_dict"
    assert torch.equal(found.tensors["net.a"], tensors()["a"])
    assert found.details["epoch"] == 199
    assert found.details["hyper_parameters.lr"] == 0.005
    assert found.details["hyper_parameters.label_smoothing_factor"] == [0.15, 0.05]
    assert set(found.left_out) == {"loops", "callbacks", "optimizer_states", "lr_schedulers"}


def test_arguments_are_found_at_any_usual_depth(tmp_path: Path) -> None:
    content = lightning(
        hyper_parameters={"args": argparse.Namespace(lr=0.1, deep={"er": {"still": 1}}), "n": 2}
    )
    found = read_checkpoint(saved(content, tmp_path / "weights.ckpt"))
    assert (found.details["hyper_parameters.args.lr"], found.details["hyper_parameters.n"]) == (0.1, 2)
    assert "hyper_parameters.args.deep" in found.left_out


@pytest.mark.parametrize("key", ["", "state_dict", "model", "teacher"])
def test_tensors_are_found_where_others_put_them(tmp_path: Path, key: str) -> None:
    content = {key: tensors(), "epoch": 7} if key else tensors()
    found = read_checkpoint(saved(content, tmp_path / "weights.pth"))
    assert found.found_under == key
    assert list(found.tensors) == ["a", "b"]
    assert found.details.get("epoch", 7) == 7


def test_the_teacher_of_dino_is_preferred_to_its_student(tmp_path: Path) -> None:
    content = {"student": {"a": torch.zeros(1)}, "teacher": {"a": torch.ones(1)}}
    assert read_checkpoint(saved(content, tmp_path / "dino.pth")).tensors["a"] == 1


def test_safetensors_are_read_with_their_metadata(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(tensors(), path, metadata={"epoch": "3"})
    found = read_checkpoint(path)
    assert torch.equal(found.tensors["a"], tensors()["a"])
    assert found.details == {"epoch": "3"}
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        read_checkpoint(path)


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def attacks(mark: Path) -> dict[str, object]:
    """Contents that would make a file `mark` if they were run."""
    call = Calls(os.system, f"touch {mark}")
    return {
        "in place of the tensors": call,
        "among the tensors": {"a": torch.ones(1), "b": call},
        "among the settings": lightning(hyper_parameters=argparse.Namespace(lr=call)),
        "in the optimiser": lightning(optimizer_states=[call]),
        "by eval": lightning(callbacks=Calls(eval, f"open({str(mark)!r}, 'w')")),
        "by exec": lightning(callbacks=Calls(exec, f"open({str(mark)!r}, 'w')")),
        "by open": lightning(callbacks=Calls(open, str(mark), "w")),
        "by import": lightning(callbacks=Calls(__import__, "antigravity")),
        "as a whole module": lightning(network=torch.nn.Linear(1, 1)),
    }


@pytest.mark.parametrize("attack", attacks(Path()))
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_that_asks_for_code_is_refused_in_one_line_and_nothing_runs(
    tmp_path: Path, attack: str, protocol: int
) -> None:
    mark = tmp_path / "mark"
    path = saved(attacks(mark)[attack], tmp_path / "bad.ckpt", pickle_protocol=protocol)
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(path)
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch's advice to trust the file


def test_what_a_file_asked_for_is_named(tmp_path: Path) -> None:
    path = saved(lightning(network=torch.nn.Linear(1, 1)), tmp_path / "bad.ckpt")
    with pytest.raises(WeightsError, match=r"asks for torch\.nn\.modules\.linear\.Linear, which is neither"):
        read_checkpoint(path)


def test_what_another_library_declared_safe_is_still_no_tensor(tmp_path: Path) -> None:
    path = saved({"a": Calls(io.BytesIO, b"x")}, tmp_path / "bad.pth")
    with (
        torch.serialization.safe_globals([io.BytesIO]),
        pytest.raises(WeightsError, match=r"asks for .*BytesIO, which is neither"),
    ):
        read_checkpoint(path)


def test_files_that_are_no_weights_are_told(tmp_path: Path) -> None:
    raw = tmp_path / "raw.pth"
    raw.write_bytes(pickle.dumps(Calls(os.system, f"touch {tmp_path / 'mark'}")))
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("packed/data.pkl", b"x" * 10_000)
    traced = tmp_path / "traced.pt"
    with zipfile.ZipFile(traced, "w") as archive:
        archive.writestr("traced/constants.pkl", pickle.dumps(()))
        archive.writestr("traced/data.pkl", pickle.dumps({}, protocol=2))
    for path, message in [
        (tmp_path / "none.ckpt", "no such file"),
        (raw, "since version 1.6"),
        (packed, "a compressed member"),
        (traced, "2 pickles of .* or a whole program"),
        (saved([1, 2], tmp_path / "list.pth"), "holds a list, expected a dict"),
        (saved({}, tmp_path / "empty.pth"), "holds no tensors"),
        (saved({"a": 3}, tmp_path / "number.pth"), "'a' is a int, expected dense tensors"),
        (saved({1: torch.ones(1)}, tmp_path / "key.pth"), "1 is a Tensor"),
        (
            saved({"a": torch.ones(2, 2).to_sparse()}, tmp_path / "sparse.pth"),
            "_rebuild_sparse_tensor, .* which is neither",
        ),
    ]:
        with pytest.raises(WeightsError, match=message) as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "mark").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return saved(lightning(), tmp_path_factory.mktemp("whole") / "weights.ckpt").read_bytes()


def repacked(whole: bytes, pickled: bytes) -> bytes:
    """The same file with another pickle and right checksums, as an attacker would write it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith(".pkl") else old.read(name))
    return packed.getvalue()


OPCODES = b"cRb.}]t(qhUXKJMQ2s0"


@settings(max_examples=300)
@given(data=st.data())
def test_a_pickle_changed_at_will_is_read_or_refused_and_nothing_else(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        pickled = bytearray(archive.read("weights/data.pkl"))
    for _ in range(data.draw(st.integers(1, 3))):
        value = data.draw(st.sampled_from(OPCODES) | st.integers(0, 255))
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = value
    path = tmp_path_factory.getbasetemp() / "changed.ckpt"
    path.write_bytes(repacked(whole, bytes(pickled)))
    assert_read_or_refused(path)


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.ckpt"
    path.write_bytes(damaged[: data.draw(st.integers(len(whole) // 2, len(whole)))])
    assert_read_or_refused(path)


def assert_read_or_refused(path: Path) -> None:
    try:
        found = read_checkpoint(path)
    except WeightsError as error:
        assert "\n" not in str(error)  # noqa: PT017  # both outcomes are right
    else:
        assert all(isinstance(one.sum().item(), float | int) for one in found.tensors.values())
