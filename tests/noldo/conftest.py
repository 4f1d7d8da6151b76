import itertools
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.noldo.loopback_s3 import Service, loopback_s3
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


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An S3 service without buckets."""
    with loopback_s3(tmp_path_factory.mktemp("moto") / "log") as found:
        yield found


@pytest.fixture(scope="module")
def new_bucket(service: Service) -> Iterator[Callable[[], str]]:
    """Makes an empty bucket and gives its URL; the environment says how to reach it."""
    variables = {
        "AWS_ENDPOINT_URL": service.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "made-up",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "AWS_REGION": "us-east-1",
    }
    numbers = itertools.count()

    def make() -> str:
        name = f"bucket-{next(numbers)}"
        urllib.request.urlopen(urllib.request.Request(f"{service.url}/{name}", method="PUT")).close()
        return f"s3://{name}"

    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        yield make


@pytest.fixture
def bucket(new_bucket: Callable[[], str]) -> str:
    """URL of an empty bucket."""
    return new_bucket()
