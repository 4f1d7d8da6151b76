"""Settings of all tests."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Each worker, and each process that it starts, computes in one thread: workers are as many as there are cores, or more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Two busy cores draw slowly: how long an example takes says nothing about the law it tests.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

LONGEST_FIRST = (
    "test_kills",
    "test_default_build",
    "test_subsets",
    "test_faults",
    "test_cluster",
    "test_build",
)
"""Files that take minutes. Workers take files in order: a long one must not be the last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; the order is otherwise that of names."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))
