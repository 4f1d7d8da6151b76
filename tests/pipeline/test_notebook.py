"""The notebook runs from top to bottom against a small build and a sandbox of its own."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.pipeline.workflow import ROOT

NOTEBOOK = ROOT / "notebooks" / "explore_a_build.ipynb"

pytestmark = pytest.mark.slow


def test_the_notebook_explores_a_build_with_maps_scenes_and_labels(build_once, monkeypatch):
    pytest.importorskip("geemap", reason="install the extra `explore`")
    monkeypatch.setenv("NOLDO_BUILD", str(build_once().folder / "results" / "tiny"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    widgets = [o for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    assert len(pictures) >= 3
    assert widgets


def test_the_notebook_is_committed_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
