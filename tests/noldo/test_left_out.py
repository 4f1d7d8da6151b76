"""Locations of train that a run does not learn from."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noldo import NoldoS12
from noldo.audit.table import Row, write_csv
from noldo.errors import ConfigError
from noldo.training.data_keys import Data, DropWorst, fold_of
from noldo.training.left_out import BLOCK_M, dropped_of, folds
from noldo.training.splits import open_split
from tests.noldo.made_up_data_set import DataSet
from tests.noldo.training_set import TRAIN, write_training_set


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return write_training_set(tmp_path_factory.mktemp("set"))


def ids_of(store: DataSet, **keys) -> list[int]:
    data = Data.model_validate({"store": str(store.root), **keys})
    return open_split(data, split="train", modalities=("s1_grd",), seed=0).ids.tolist()


def rows_of(ids: list[int], ranks: list[int]) -> list[Row]:
    return [
        Row(one, 1, False, 10, 0.5, "a > b", {"cross_entropy": 1.0}, {"cross_entropy": rank})
        for one, rank in zip(ids, ranks, strict=True)
    ]


PLACES = st.lists(
    st.tuples(st.sampled_from([0, 32632, 32733]), st.integers(0, 10**6), st.integers(0, 10**7)),
    min_size=1,
    max_size=30,
    unique=True,
)


@given(PLACES, st.integers(2, 5))
def test_folds_share_out_squares_as_evenly_as_can_be_and_never_divide_one(places, num_folds):
    ids, where = np.arange(len(places)), np.array(places, np.int64)
    found = folds(ids, where, num_folds=num_folds)
    blocks = [(c, x // BLOCK_M, y // BLOCK_M) if c else (0, one, 0) for one, (c, x, y) in enumerate(places)]
    of_block = dict(zip(blocks, found.tolist(), strict=True))
    assert [of_block[block] for block in blocks] == found.tolist()
    counts = np.bincount(list(of_block.values()), minlength=num_folds + 1)[1:]
    assert counts.max() - counts.min() <= 1
    order = np.random.default_rng(0).permutation(len(places))
    assert folds(ids[order], where[order], num_folds=num_folds).tolist() == found[order].tolist()


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/1", "a/b", "1", "-1/3"])
def test_what_is_no_fold_is_refused(text):
    with pytest.raises(ValueError, match="expected a fold"):
        fold_of(text)
    with pytest.raises(ValueError, match="expected a fold"):
        Data(store="x", hold_out=text)


def test_each_location_of_train_is_held_out_by_one_fold_and_val_by_none(store):
    whole = ids_of(store)
    kept = [ids_of(store, hold_out=f"{one}/2") for one in (1, 2)]
    assert sorted(kept[0] + kept[1]) == sorted(whole)
    assert len(whole) == len(TRAIN)
    data = Data(store=str(store.root), hold_out="1/2")
    assert len(open_split(data, split="val", modalities=("s1_grd",), seed=0)) == 2


def test_the_worst_are_left_out_or_as_many_at_random_and_the_log_names_them(store, tmp_path, caplog):
    ids, path = ids_of(store), tmp_path / "audit.csv"
    write_csv(path, rows_of(ids, [3, 1, 4, 2, 5]))
    drop = {"file": str(path), "share": 0.4}
    assert ids_of(store, drop_worst=drop) == [ids[0], ids[2], ids[4]]
    random = {tuple(ids_of(store, drop_worst=drop | {"at_random": seed})) for seed in range(12)}
    assert {len(one) for one in random} == {3}
    assert len(random) > 3
    data = Data.model_validate({"store": str(store.root), "drop_worst": drop})
    open_split(data, split="train", modalities=("s1_grd",), seed=0, is_told=True)
    assert f"drop_worst leaves out 2 of 5 locations: {ids[1]}, {ids[3]}" in caplog.text


def test_the_worst_are_those_of_what_is_not_held_out(store, tmp_path):
    ids, path = ids_of(store), tmp_path / "audit.csv"
    write_csv(path, rows_of(ids, [1, 2, 3, 4, 5]))
    held = ids_of(store, hold_out="1/2")
    found = ids_of(store, hold_out="1/2", drop_worst={"file": str(path), "share": 0.5})
    assert found == held[len(held) // 2 :]


def test_patches_that_were_not_judged_are_never_the_worst():
    settings = DropWorst(file="a.csv", share=0.5)
    assert dropped_of([1, 2, 3, 4], {1: 0, 2: 0, 3: 1, 4: 0}, settings=settings) == {3}


def test_a_table_of_other_locations_is_one_line(store, tmp_path):
    path = tmp_path / "audit.csv"
    write_csv(path, rows_of(ids_of(store)[:3], [1, 2, 3]))
    with pytest.raises(
        ConfigError, match=r"audit.csv has no line for 2 of 5 locations of train, e.g. \d+; audit all"
    ):
        ids_of(store, drop_worst={"file": str(path)})
    with pytest.raises(ConfigError, match=r"no patch that is ranked by cleanlab; it has cross_entropy;"):
        ids_of(store, drop_worst={"file": str(path), "score": "cleanlab"})
    with pytest.raises(ConfigError, match=r"none.csv: can't be read"):
        ids_of(store, drop_worst={"file": str(tmp_path / "none.csv")})
    path.write_text("id,rank_cross_entropy\n1,first\n")
    with pytest.raises(ConfigError, match="an id or a rank is no number"):
        ids_of(store, drop_worst={"file": str(path)})


def test_a_data_set_hands_out_only_the_locations_that_are_named(store):
    whole = NoldoS12(store.root, split="train", season=0)
    chosen = whole.ids[[3, 1]].tolist()
    found = NoldoS12(store.root, split="train", season=0, only=chosen)
    assert found.ids.tolist() == whole.ids[[1, 3]].tolist()
    np.testing.assert_array_equal(found[1]["mask"], whole[3]["mask"])
    assert found.places.tolist() == whole.places[[1, 3]].tolist()
    with pytest.raises(ConfigError, match=r"only: 1 ids are no kept locations .* e.g. 99999"):
        NoldoS12(store.root, only=[99_999], season=0)


def test_the_table_keeps_what_it_was_told(tmp_path: Path):
    from noldo.audit.table import read_ranks, to_csv

    rows = rows_of([7, 9], [2, 0])
    assert to_csv(rows).decode().splitlines() == [
        "id,num_runs,in_sample,labelled_px,disputed,worst_pair,cross_entropy,rank_cross_entropy",
        "7,1,0,10,0.5,a > b,1.0,2",
        "9,1,0,10,0.5,a > b,1.0,",
    ]
    write_csv(tmp_path / "a.csv", rows)
    assert read_ranks(tmp_path / "a.csv", score="cross_entropy") == {7: 2, 9: 0}
