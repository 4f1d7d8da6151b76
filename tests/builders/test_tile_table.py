import datetime as dt

import openpyxl
import pytest

from builders.tile_table import read_tile_tables
from noldo.errors import InputError

HEADER = "dw_id,labeler,hemisphere,biome,biome_name,date,lon,lat,S2_PRODUCT_ID,Trees"
NAME = "dw_-0.6481384406_6.8231873947-20190226"
PRODUCT = "S2B_MSIL1C_20190226T102019_N0207_R065_T30NZN_20190226T134512"
LINE = f"{NAME},expert_1,northern,1,Tropical Moist,2019-02-26,-0.648,6.823,{PRODUCT},0.5"


def table(folder, *lines, name="tiles.csv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_published_columns_are_read(tmp_path):
    (tile,) = read_tile_tables([table(tmp_path, HEADER, LINE)])
    assert tile.name == NAME
    assert tile.date == dt.date(2019, 2, 26)
    assert tile.labelled_scene == "20190226T102019_30NZN"
    assert (tile.lon, tile.lat) == (-0.6481384406, 6.8231873947)
    assert (tile.biome, tile.hemisphere) == ("Tropical Moist", "northern")
    assert not tile.is_validation


def test_the_workbook_is_read_by_its_sheet_of_experts(tmp_path):
    book = openpyxl.Workbook()
    book.active.title = "non_expert"
    book.active.append(["dw_id"])
    book.active.append(["dw_9.0_9.0-20180101"])
    sheet = book.create_sheet("expert")
    sheet.append(HEADER.split(","))
    sheet.append([*LINE.split(",")[:5], dt.datetime(2019, 2, 26), -0.648, 6.823, PRODUCT, 0.5])
    sheet.append([None] * 10)
    path = tmp_path / "v1.xlsx"
    book.save(path)
    assert read_tile_tables([path]) == [
        tile
        for tile in read_tile_tables([table(tmp_path, HEADER, LINE)])
        for tile in [type(tile)(**{**tile.__dict__, "where": f"{path}, line 2"})]
    ]


def test_a_workbook_without_that_sheet_names_those_it_has(tmp_path):
    book = openpyxl.Workbook()
    book.create_sheet("other")
    book.save(tmp_path / "v1.xlsx")
    with pytest.raises(InputError, match=r"sheets Sheet, other, expected one named expert"):
        read_tile_tables([tmp_path / "v1.xlsx"])
    (tmp_path / "broken.xlsx").write_bytes(b"PK no")
    with pytest.raises(InputError, match="not an xlsx workbook"):
        read_tile_tables([tmp_path / "broken.xlsx"])


def test_validation_tiles_are_told_by_their_own_table(tmp_path):
    path = table(
        tmp_path,
        "filename,s2_system_index",
        "dw_-0p6481_6p8231-20190226,20190226T102019_20190226T103103_T30NZN",
        name="meta.csv",
    )
    (tile,) = read_tile_tables([path])
    assert tile.is_validation
    assert tile.labelled_scene == "20190226T102019_30NZN"
    assert tile.date == dt.date(2019, 2, 26)
    assert (tile.lon, tile.lat) == (-0.6481, 6.8231)


def test_several_tables_are_one_list_by_name(tmp_path):
    first = table(tmp_path, HEADER, LINE)
    second = table(tmp_path, "dw_id", "dw_1.0_1.0-20180101", "dw_0.0_1.0-20180101", name="b.csv")
    assert [tile.name for tile in read_tile_tables([first, second])] == sorted(
        [NAME, "dw_1.0_1.0-20180101", "dw_0.0_1.0-20180101"]
    )


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("labeler", "expert_1"), "no columns for name"),
        ((HEADER, LINE, LINE), "tiles stand in the tables more than once"),
        (("dw_id,date", "here,yesterday"), "no date of tile 'here' .date 'yesterday'."),
        (("dw_id", "dw_1.0_1.0-20181399"), "no date of tile"),
        (("dw_id", ""), "a header, but no places"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(tmp_path, lines, words):
    with pytest.raises(InputError, match=words):
        read_tile_tables([table(tmp_path, *lines)])


def test_what_the_table_does_not_say_stays_empty(tmp_path):
    (tile,) = read_tile_tables([table(tmp_path, "dw_id,date", "here,20180102")])
    assert (tile.labelled_scene, tile.lon, tile.lat, tile.biome) == ("", None, None, "")
    assert tile.date == dt.date(2018, 1, 2)


@pytest.mark.parametrize(
    "name",
    [PRODUCT, f"{PRODUCT}.SAFE", "20190226T102019_20190226T103103_T30NZN"],
)
def test_the_labelled_scene_is_read_as_esa_or_earth_engine_name_it(tmp_path, name):
    (tile,) = read_tile_tables([table(tmp_path, "dw_id,S2_PRODUCT_ID", f"{NAME},{name}")])
    assert tile.labelled_scene == "20190226T102019_30NZN"


def test_scenes_whose_name_says_nothing_are_counted(tmp_path, caplog):
    read_tile_tables([table(tmp_path, "dw_id,S2_PRODUCT_ID", f"{NAME},S2_OPER_old_name")])
    assert "1 tiles name a scene that can't be read" in caplog.text


def test_one_table_may_hold_training_and_validation_tiles(tmp_path):
    index = "20190226T102019_20190226T103103_T30NZN"
    lines = ("dw_id,s2_system_index", f"{NAME},", f"dw_1.0_1.0-20190226,{index}")
    found = {tile.name: tile.is_validation for tile in read_tile_tables([table(tmp_path, *lines)])}
    assert found == {NAME: False, "dw_1.0_1.0-20190226": True}
