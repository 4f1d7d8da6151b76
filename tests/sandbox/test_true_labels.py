import json

import numpy as np
import pytest

from noldo import NoldoS12
from noldo.grids import Grid
from noldo.verify import verify
from sandbox.__main__ import app
from sandbox.planet import SyntheticEarth
from sandbox.true_labels import write_truth
from tests.noldo.made_up_data_set import write_data_set


def set_seed(root, seed):
    path = root / "nol.json"
    tree = json.loads(path.read_text())
    path.write_text(json.dumps(tree | {"config": {"sandbox": {"seed": seed}}}))


def test_true_labels_are_what_the_earth_of_the_build_is_made_of_in_every_season(tmp_path, capsys):
    images = write_data_set(tmp_path / "images")
    set_seed(images.root, 5)
    app(["truth", str(images.root), "--out", str(tmp_path / "truth")], result_action="return_value")
    assert "8 locations" in capsys.readouterr().out
    found = NoldoS12(images.root, split=None, season="all", label_store=tmp_path / "truth")
    for position, row in enumerate(images.kept):
        place = {name: int(images.rows[name][row]) for name in ("crs_epsg", "x_ul", "y_ul")}
        expected = SyntheticEarth(5).truth(Grid(**place, size_px=12))
        assert [np.array_equal(one, expected) for one in found[position]["mask"]] == [True] * 3
    assert verify(tmp_path / "truth").problems == ()


def test_nobody_knows_the_truth_of_a_build_of_real_scenes(tmp_path):
    from noldo.errors import ConfigError

    images = write_data_set(tmp_path / "images")
    with pytest.raises(ConfigError, match="nobody knows"):
        write_truth(images.root, out=tmp_path / "truth")
