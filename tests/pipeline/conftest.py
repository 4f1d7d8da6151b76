from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.workflow import Workflow, tiny_config


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    return Workflow(tmp_path)


@pytest.fixture(scope="session")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Workflow]:
    """The tiny build, made by the first test of this worker that wants it."""
    made: list[Workflow] = []

    def make() -> Workflow:
        if not made:
            workflow = Workflow(tmp_path_factory.mktemp("tiny"))
            workflow.build(tiny_config())
            made.append(workflow)
        return made[0]

    return make
