import datetime as dt
from pathlib import Path

import pytest

from builders.config import BuildConfig, load_config, parse_config
from noldo.errors import ConfigError

ROOT = Path(__file__).parents[2]


def tree(**changes: object) -> dict[str, object]:
    return {"name": "here", "seasons": [{"name": "summer", "date": "2021-06-21"}]} | changes


def message(**changes: object) -> str:
    with pytest.raises(ConfigError) as error:
        parse_config(tree(**changes), where="my.yaml")
    text = str(error.value)
    assert text.startswith("my.yaml: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", ["sandbox", "noldo_s12"])
def test_the_configs_of_the_project_are_valid_and_named_after_their_files(name):
    assert load_config(ROOT / "config" / f"{name}.yaml").name == name


def test_an_unknown_key_is_named_with_its_section():
    assert "locations.cuont: unknown key" in message(locations={"cuont": 3})


def test_every_wrong_key_is_in_the_one_line():
    text = message(patch_size_px=100, clouds={"min_coverage": 2})
    assert "patch_size_px" in text
    assert "clouds.min_coverage" in text


def test_a_patch_must_hold_whole_pixels_of_60_m():
    assert "multiple of 6" in message(patch_size_px=256)


@pytest.mark.parametrize("date", ["2021-02-30", "1999-01-01", "soon"])
def test_impossible_dates_are_refused(date):
    assert "seasons.0.date" in message(seasons=[{"name": "a", "date": date}])


def test_there_are_1_to_12_seasons_with_names_of_their_own():
    assert "seasons" in message(seasons=[])
    many = [{"name": f"s{i}", "date": "2021-06-21"} for i in range(13)]
    assert "seasons" in message(seasons=many)
    assert "same name" in message(seasons=[many[0], many[0]])
    assert len(parse_config(tree(seasons=many[:12]), where="x").seasons) == 12


def test_anonymous_credentials_never_leave_this_machine():
    source = {"url": "https://earthengine.example", "credentials": "anonymous", "project": "p"}
    assert "loopback only" in message(source=source)
    here = source | {"url": "http://127.0.0.1:8080"}
    assert parse_config(tree(source=here), where="x").source.is_loopback


def test_credentials_are_never_sent_in_the_clear():
    source = {"url": "http://earthengine.example", "project": "p"}
    assert "https only" in message(source=source)


def test_a_real_source_needs_a_project():
    assert "no `project`" in message(source={"url": "https://earthengine.example"})


def test_shards_jobs_and_searches_nest():
    assert "multiple" in message(jobs={"locations_per_shard": 10, "locations_per_job": 25})


def test_unknown_bands_are_named_with_the_known_ones():
    text = message(products={"s2_l2a": ["B10"]})
    assert "B10" in text
    assert "B8A" in text


def test_the_least_distance_is_one_patch_diagonal():
    config = parse_config(tree(patch_size_px=264), where="x")
    assert config.min_spacing_m == pytest.approx(3733.5, abs=0.1)


def test_who_asks_does_not_change_what_is_built():
    sandbox = parse_config(tree(), where="x")
    assert sandbox.digest() == parse_config(tree(source={"max_concurrent": 3}), where="x").digest()
    assert sandbox.digest() == parse_config(tree(jobs={"dask_scheduler": "tcp://h:1"}), where="x").digest()
    assert sandbox.digest() != parse_config(tree(sandbox={"seed": 1}), where="x").digest()
    by_hand = {"url": "http://127.0.0.1:8080"}
    assert sandbox.digest() == parse_config(tree(source=by_hand), where="x").digest()
    assert sandbox.digest() != parse_config(tree(source=by_hand, sandbox={"seed": 1}), where="x").digest()
    real = {"url": "https://earthengine.example", "project": "p"}
    assert sandbox.digest() != parse_config(tree(source=real), where="x").digest()


def test_a_config_survives_json():
    config = parse_config(tree(), where="x")
    assert BuildConfig.model_validate_json(config.model_dump_json()) == config
    assert config.seasons[0].date == dt.date(2021, 6, 21)


def test_a_missing_config_and_broken_yaml_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: can't be read"):
        load_config(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: x\nseasons: [")
    with pytest.raises(ConfigError, match=r"broken\.yaml, line \d+: not valid YAML"):
        load_config(broken)
    broken.write_text("just words")
    with pytest.raises(ConfigError, match=r"broken\.yaml: "):
        load_config(broken)
