import shutil
from pathlib import Path

import pytest

from tests.noldo.made_up_data_set import DataSet, write_data_set


@pytest.fixture(scope="session")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """A finished data set that no test changes."""
    return write_data_set(tmp_path_factory.mktemp("made_up"))


@pytest.fixture
def own_data_set(data_set: DataSet, tmp_path: Path) -> DataSet:
    """A copy that the test may damage."""
    root = tmp_path / "copy"
    shutil.copytree(data_set.root, root)
    return DataSet(root, data_set.layout, data_set.pixels, data_set.rows)
