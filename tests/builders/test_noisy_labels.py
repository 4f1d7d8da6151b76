"""Noisy labels as they are found: one file a location and scene."""

import re
import zipfile

import pytest

from builders.noisy_labels import NoisyLabels
from noldo.errors import InputError

SCENES = ("20200302T103629_20200302T103631_T32TPT", "20200612T103629_20200612T103631_T32TPT")


def label(number: str, scene: str = SCENES[0], *, above: str = "") -> str:
    return f"{above}dw_noisy_labels/{number}/{scene}/label.tif"


def archive_of(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return path


def test_labels_are_found_by_number_and_scene(tmp_path):
    names = [label("0000123", scene) for scene in SCENES]
    labels = NoisyLabels.open(archive_of(tmp_path / "x.zip", *names, label("0000007"), "readme.txt"))
    assert labels.ids() == [7, 123]
    assert labels.scenes(123) == list(SCENES)
    assert labels.unmatched == ["readme.txt"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (label("0000123"), label("123")),
        (label("0000123", SCENES[0]), label("123", SCENES[1])),
        (label("123"), label("١٢٣")),
        (label("0000123", above="a/"), label("0000123", above="b/")),
    ],
    ids=["zeros", "zeros and another scene", "other digits", "another folder"],
)
def test_two_labels_of_one_location_are_refused_with_both_names(tmp_path, one, other):
    path = archive_of(tmp_path / "x.zip", label("0000007"), other, one)
    pair = "|".join(re.escape(f"{first} and {second}") for first, second in ((one, other), (other, one)))
    with pytest.raises(
        InputError, match=rf"x\.zip: ({pair}) are both labels of location 123; remove or rename"
    ):
        NoisyLabels.open(path)


def test_one_folder_may_hold_twins_too(tmp_path):
    for number in ("0000123", "123"):
        (tmp_path / label(number)).parent.mkdir(parents=True)
        (tmp_path / label(number)).touch()
    with pytest.raises(InputError, match="are both labels of location 123"):
        NoisyLabels.open(tmp_path)


def test_a_number_of_any_length_is_no_crash(tmp_path):
    labels = NoisyLabels.open(archive_of(tmp_path / "x.zip", label("9" * 250)))
    assert labels.ids() == [int("9" * 250)], "and is refused with the items"
