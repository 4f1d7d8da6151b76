"""Labels read in another legend: pretraining on fewer classes than are learnt later."""

from pathlib import Path

import numpy as np
import pytest
import torch

from noldo.common_legend import lookup_into
from noldo.dataset import NoldoS12
from noldo.errors import ConfigError, StoreError
from noldo.legend import (
    COVER_2,
    COVER_3,
    DFC2020_8,
    DFC2020_10,
    DYNAMIC_WORLD,
    LEGENDS,
    MAPPINGS,
    OSM_LAND_USE,
)
from noldo.prediction.mapper import load_mapper
from noldo.training.data_keys import LabelNoise
from noldo.training.run_folder import RunFolder, read_checkpoint
from noldo.training.runs import run_recipe
from noldo.training.splits import open_split
from tests.noldo.made_up_data_set import DataSet
from tests.noldo.training_set import pretrain_recipe, transfer_recipe, write_training_set

torch.set_num_threads(1)

ALONE = {"modalities": ["s2_l1c"], "method": {"selection": None, "smoothing": None}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return write_training_set(tmp_path_factory.mktemp("set"))


def data_of(store: DataSet, **changes: object) -> dict[str, object]:
    return {"store": str(store.root), "num_workers": 0, "bands": 3, **changes}


@pytest.mark.parametrize("legend", [COVER_3, COVER_2])
def test_every_class_of_dynamic_world_has_a_place_among_fewer(legend):
    table = lookup_into(DYNAMIC_WORLD, legend.name, where="x")
    assert set(table[:9].tolist()) == set(range(len(legend.classes)))
    named = {name: legend.classes[table[number]] for number, name in enumerate(DYNAMIC_WORLD.classes)}
    assert named["trees"] == "trees"
    assert named["water"] == named["snow_and_ice"] == "background"


def test_two_classes_are_those_of_three_merged():
    three, two = (lookup_into(DYNAMIC_WORLD, name, where="x") for name in ("cover_3", "cover_2"))
    np.testing.assert_array_equal(lookup_into(COVER_3, "cover_2", where="x")[three[:9]], two[:9])


@pytest.mark.parametrize(("source", "target"), MAPPINGS)
def test_what_is_no_class_and_what_has_no_label_stays_so_in_any_legend(source, target):
    num_source, num_target = (len(LEGENDS[name].classes) for name in (source, target))
    table = lookup_into(LEGENDS[source], target, where="x")
    assert table[255] == 255
    assert ((table[num_source:255] >= num_target) & (table[num_source:255] < 255)).all()
    assert set(table[:num_source].tolist()) <= {*range(num_target), 255}


def test_a_legend_without_a_known_mapping_is_one_line(store):
    with pytest.raises(
        ConfigError,
        match=r"labels have classes of osm_land_use, and no mapping to cover_3 is known; they can be ",
    ):
        lookup_into(OSM_LAND_USE, "cover_3", where="x")
    with pytest.raises(
        ConfigError,
        match=r"nol.zarr: labels have classes of dynamic_world, and no mapping to dfc2020_8 .* cover_3",
    ):
        NoldoS12(store.root, legend="dfc2020_8")
    with pytest.raises(ConfigError, match=r"legend 'cover': expected one of dynamic_world, .*cover_2"):
        NoldoS12(store.root, legend="cover")


def test_the_data_set_hands_out_labels_in_the_legend_that_is_asked_for(store):
    plain, merged = (NoldoS12(store.root, legend=legend, split=None) for legend in (None, "cover_3"))
    assert (plain.legend, merged.legend) == (DYNAMIC_WORLD, COVER_3)
    assert merged.classes_left_out == plain.classes_left_out == ()
    table = lookup_into(DYNAMIC_WORLD, "cover_3", where="x")
    for own, other in zip(plain, merged, strict=True):
        assert other["mask"].dtype == torch.uint8
        np.testing.assert_array_equal(other["mask"].numpy(), table[own["mask"].numpy()])
    assert NoldoS12(store.root, legend="dynamic_world").legend == DYNAMIC_WORLD


def test_savanna_has_no_counterpart_and_that_is_told():
    table = lookup_into(DFC2020_10, DFC2020_8.name, where="x")
    assert [name for number, name in enumerate(DFC2020_10.classes) if table[number] == 255] == [
        "savanna",
        "snow_ice",
    ]


@pytest.mark.parametrize(("legend", "framework"), [(COVER_3, "fpn"), (COVER_2, "deeplabv3plus")])
def test_an_encoder_of_few_classes_is_where_transfer_to_more_classes_and_another_decoder_begins(
    store, tmp_path, legend, framework
):
    recipe = pretrain_recipe(store.root, data=data_of(store, legend=legend.name), epochs=1, **ALONE)
    result = run_recipe(recipe, out=tmp_path / "pretrained")
    assert tuple(result["outputs"]["s2_l1c"]["per_class"]) == legend.classes
    source = read_checkpoint(RunFolder(tmp_path / "pretrained").checkpoint("last"))["network"]
    assert len(source["segmentation_head.0.bias"]) == len(legend.classes)
    recipe = transfer_recipe(
        store.root, framework=framework, weights=str(tmp_path / "pretrained"), mode="frozen", epochs=1
    )
    found = run_recipe(recipe, out=tmp_path / "transferred")
    assert tuple(found["per_class"]) == DYNAMIC_WORLD.classes
    assert found["weights"]["missing"] == found["weights"]["reshaped"] == 0
    after = read_checkpoint(RunFolder(tmp_path / "transferred").checkpoint("last"))["network"]
    encoder = {name: value for name, value in source.items() if name.startswith("encoder.")}
    for name, value in encoder.items():
        assert torch.equal(after[name], value), name


def test_noise_is_put_into_the_classes_that_are_learnt(store):
    data = pretrain_recipe(store.root, data=data_of(store, legend="cover_2")).data
    noise = LabelNoise(kind="uniform", rate=1.0)
    options = {"split": "train", "modalities": ("s1_grd",), "seed": 3, "season": 0}
    clean, wrong = (
        open_split(one, **options)[0]["mask"].numpy()
        for one in (data, data.model_copy(update={"noise": noise}))
    )
    labelled = clean != 255
    np.testing.assert_array_equal(wrong[labelled], 1 - clean[labelled])


def test_a_network_of_few_classes_maps_in_their_legend(store, tmp_path):
    recipe = transfer_recipe(store.root, data=data_of(store, legend="cover_3"), epochs=1)
    assert tuple(run_recipe(recipe, out=tmp_path)["per_class"]) == COVER_3.classes
    assert load_mapper(tmp_path).legend == COVER_3


def test_labels_that_are_no_class_are_refused_in_another_legend_too(tmp_path: Path):
    def odd(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        pixels["dynamic_world_10m"][:, :, 5, 5] = 77

    odd_store = write_training_set(tmp_path / "set", then=odd)
    recipe = pretrain_recipe(odd_store.root, data=data_of(odd_store, legend="cover_3"), epochs=1, **ALONE)
    with pytest.raises(StoreError, match=r"class id 77, but legend cover_3 has 0 .. 2"):
        run_recipe(recipe, out=tmp_path / "run")
