import numpy as np

from noldo.metadata import array_documents
from noldo.products import S1_BANDS, S2_L1C_BANDS, array_specs
from noldo.rows import ROW_ARRAYS
from noldo.store import StoreLayout, create_store, write_rows
from noldo.store_files import metadata_files, row_files

SPECS = array_specs({"s2_l1c": S2_L1C_BANDS, "s1_grd": S1_BANDS, "dynamic_world": ("label",)})
LAYOUT = StoreLayout(
    specs=SPECS,
    num_locations=3,
    season_names=("a", "b"),
    patch_size_px=12,
    locations_per_shard=2,
    codec="small",
)


def files_below(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_named_files_are_those_that_are_written(tmp_path):
    create_store(tmp_path, LAYOUT, attributes={})
    assert files_below(tmp_path) == set(metadata_files(SPECS))
    shapes = {row.name: row.shape(num_locations=3, num_seasons=2) for row in ROW_ARRAYS}
    write_rows(tmp_path, {row.name: np.zeros(shapes[row.name], row.dtype) for row in ROW_ARRAYS})
    assert files_below(tmp_path) == {*metadata_files(SPECS), *row_files()}
    assert set(array_documents(LAYOUT)) == {name.split("/")[0] for name in metadata_files(SPECS)[1:]}
