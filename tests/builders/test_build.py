import json

import pytest

from builders import build
from builders.config import parse_config
from builders.layout import Layout
from noldo.errors import ConfigError


def config(**changes):
    tree = {"name": "here", "seasons": [{"name": "summer", "date": "2021-06-21"}]} | changes
    return parse_config(tree, where="test")


def test_a_folder_of_another_config_is_refused_with_the_key_that_differs(tmp_path):
    layout = Layout("here", root=tmp_path)
    build.write_config(config(), layout)
    build.check_folder(config(), layout)
    other = config(seasons=[{"name": "summer", "date": "2020-06-21"}])
    with pytest.raises(ConfigError, match=r"seasons\[0\].date was .*2021-06-21.*2020-06-21"):
        build.check_folder(other, layout)


def test_a_folder_may_be_continued_with_other_credentials(tmp_path):
    layout = Layout("here", root=tmp_path)
    build.write_config(config(), layout)
    build.check_folder(config(source={"max_concurrent": 4}), layout)


def test_a_store_without_its_config_is_not_touched(tmp_path):
    layout = Layout("here", root=tmp_path)
    layout.store.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"no config\.json"):
        build.check_folder(config(), layout)


def test_a_damaged_config_record_is_one_line(tmp_path):
    layout = Layout("here", root=tmp_path)
    layout.results.mkdir(parents=True)
    layout.config.write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        build.check_folder(config(), layout)


def test_an_unchanged_config_is_not_written_again(tmp_path):
    layout = Layout("here", root=tmp_path)
    build.write_config(config(), layout)
    before = layout.config.stat().st_mtime_ns
    build.write_config(config(), layout)
    assert layout.config.stat().st_mtime_ns == before
    assert json.loads(layout.config.read_text())["name"] == "here"


def test_the_first_lines_say_what_the_pixels_are():
    said = build.greeting(config())
    assert "SANDBOX" in said
    assert "config/noldo_s12.yaml" in said
    real = {"url": "https://earthengine.example", "project": "mine"}
    assert "project mine" in build.greeting(config(source=real))
    catalogue = config(sandbox={"catalogue": "my/catalog.json"})
    assert "SANDBOX" not in build.greeting(catalogue)
    assert "my/catalog.json" in build.greeting(catalogue)


def test_the_placeholder_project_is_never_asked_for():
    source = {"url": "https://earthengine.example", "project": build.PLACEHOLDER_PROJECT}
    with pytest.raises(ConfigError, match="your own Google Cloud project"):
        build.require_project(config(source=source))


def test_the_last_lines_say_why_each_job_failed(tmp_path):
    layout = Layout("here", root=tmp_path)
    logs = tmp_path / "logs" / "here" / "fetch_pixels"
    logs.mkdir(parents=True)
    (logs / "0.log").write_text("INFO going\nbuilders: the quota is spent; go on tomorrow\n")
    (logs / "1.log").write_text("INFO done\n")
    (logs / "2.log").write_text("Traceback (most recent call last):\n  ...\nKeyError: 'x'\n")
    running = build.Running(lock=(tmp_path / "lock").open("w"), sandbox=None, started_s=0.0)
    said = build.advice(layout, running)
    running.lock.close()
    assert f"{logs / '0.log'}: the quota is spent; go on tomorrow" in said
    assert "1.log" not in said
    assert "2.log: KeyError: 'x' (a defect of ours" in said
    assert "the same command goes on" in said
    assert build.failures(layout, since_s=4e9) == []
