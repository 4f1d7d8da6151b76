import pytest

from builders.tag_table import area_class, bundled_tables, class_of, load_tag_table, ranked
from noldo.errors import ConfigError, InputError
from noldo.legend import OSM_LAND_USE

OHSOME = load_tag_table("ohsome-1")
OSMLANDUSER = load_tag_table("osmlanduser-1")


def name_of(class_id):
    return None if class_id is None else OSM_LAND_USE.classes[class_id]


@pytest.fixture
def own(tmp_path):
    def write(text):
        path = tmp_path / "own.csv"
        path.write_text(text)
        return path

    return write


def test_both_published_tables_come_with_the_project_and_say_where_they_are_from():
    assert bundled_tables() == ("ohsome-1", "osmlanduser-1")
    for table in (OHSOME, OSMLANDUSER):
        assert table.keys == ("landuse", "natural", "leisure")
        assert "https://github.com/" in table.source
        assert table.version == "1"
        assert set(table.classes.values()) == set(range(13)), table.name
    assert len(OHSOME.classes) == 56


@pytest.mark.parametrize(
    ("tags", "ohsome", "osmlanduser"),
    [
        ({"landuse": "residential"}, "urban_fabric", "urban_fabric"),
        ({"landuse": "retail"}, "urban_fabric", "industrial_commercial_transport"),
        ({"leisure": "marina"}, "industrial_commercial_transport", "industrial_commercial_transport"),
        ({"landuse": "grass"}, "artificial_vegetation", "shrub_and_herbaceous"),
        ({"natural": "fell"}, "shrub_and_herbaceous", "open_spaces"),
        ({"natural": "bare_rock"}, "open_spaces", None),
        ({"natural": "wood"}, "forests", "forests"),
        ({"landuse": "wood"}, None, "forests"),
        ({"natural": "water"}, "water_bodies", "water_bodies"),
        ({"landuse": "forest;meadow"}, None, None),
        ({"building": "yes"}, None, None),
        ({}, None, None),
    ],
)
def test_a_tag_has_the_class_its_table_says(tags, ohsome, osmlanduser):
    assert name_of(class_of(tags, OHSOME)) == ohsome
    assert name_of(class_of(tags, OSMLANDUSER)) == osmlanduser


def test_of_several_listed_tags_the_first_key_in_order_decides():
    assert name_of(class_of({"leisure": "park", "landuse": "forest"}, OHSOME)) == "forests"
    assert name_of(class_of({"leisure": "park", "landuse": "military"}, OHSOME)) == "artificial_vegetation"


@pytest.mark.parametrize("value", ["cliff", "arete", "coastline", "ridge", "tree_row"])
def test_a_closed_way_along_a_line_is_no_area_unless_it_says_so(value, own):
    table = load_tag_table(own(f"key,value,class\nnatural,{value},open_spaces\nleisure,park,forests\n"))
    assert area_class({"natural": value}, table, osm_type="way") is None
    assert name_of(area_class({"natural": value, "area": "yes"}, table, osm_type="way")) == "open_spaces"
    assert name_of(area_class({"natural": value}, table, osm_type="relation")) == "open_spaces"
    assert name_of(area_class({"natural": value, "leisure": "park"}, table, osm_type="way")) == "forests"


def test_a_way_that_says_it_is_no_area_is_none():
    assert area_class({"landuse": "forest", "area": "no"}, OHSOME, osm_type="way") is None
    assert name_of(area_class({"landuse": "forest"}, OHSOME, osm_type="way")) == "forests"


def test_only_one_table_ranks_its_classes():
    by_name = {name_of(class_id): rank for class_id, rank in ranked(OSMLANDUSER).items()}
    assert by_name["industrial_commercial_transport"] == 1
    assert by_name["urban_fabric"] == 5
    assert by_name["forests"] == 7
    assert len(by_name) == 13
    with pytest.raises(ConfigError, match=r"ohsome-1: it has no priorities.*osmlanduser-1"):
        ranked(OHSOME)


def test_a_table_of_ones_own_replaces_the_others(own):
    path = own(
        "# name: mine\n# keys: waterway, landuse\nkey,value,class\n*,dock,water_bodies\n\nlanduse,x,forests\n"
    )
    table = load_tag_table(path)
    assert (table.name, table.keys) == ("mine", ("waterway", "landuse"))
    assert name_of(class_of({"waterway": "dock"}, table)) == "water_bodies"
    assert table.text == path.read_text()


def test_the_digest_follows_what_the_table_decides_and_nothing_else(own):
    digest = load_tag_table(own("key,value,class\nlanduse,a,forests\nnatural,b,pastures\n")).digest
    same = "# version: 9\nvalue,class,key\nb,pastures,natural\na,forests,landuse\n"
    assert load_tag_table(own(same)).digest == digest
    for other in (
        "key,value,class\nlanduse,a,forests\n",
        "key,value,class\nlanduse,a,forests\nnatural,b,forests\n",
        "# keys: natural, landuse\nkey,value,class\nlanduse,a,forests\nnatural,b,pastures\n",
        "key,value,class,priority\nlanduse,a,forests,1\nnatural,b,pastures,2\n",
    ):
        assert load_tag_table(own(other)).digest != digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,value,class\nlanduse,a,wood\n", "line 2: unknown class 'wood', expected one of urban_fabric, "),
        ("# c\nkey,value,class\nlanduse,a,forests\n*,a,forests\n", "line 4: landuse=a again, as in line 3"),
        ("key,value\nlanduse,a\n", "line 1: no column `class` among 'key, value'"),
        ("key,value,class\nlanduse,a\n", "line 2: 2 cells, expected 3"),
        ("key,value,class\nhighway,a,forests\n", "line 2: key 'highway', expected one of landuse, natural"),
        ("key,value,class\nlanduse,,forests\n", "line 2: no value"),
        ("key,value,class,priority\nlanduse,a,forests,\n", "line 2: no priority"),
        ("key,value,class,priority\nlanduse,a,forests,0\n", "line 2: priority '0', expected a whole number"),
        (
            "key,value,class,priority\nlanduse,a,forests,1\nlanduse,b,forests,2\n",
            "line 3: priority 2 for forests, expected 1 as above",
        ),
        ("# keys: a, a\nkey,value,class\na,b,forests\n", "keys are 'a, a', expected different ones"),
        ("# only a comment\n", "no rows"),
        ("key,value,class\n", "a header, but no tags below it"),
    ],
)
def test_a_bad_line_is_named_with_what_was_expected(own, text, message):
    with pytest.raises(InputError) as error:
        load_tag_table(own(text))
    assert message in str(error.value)
    assert "own.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_that_does_not_exist_is_answered_with_those_that_do(tmp_path):
    with pytest.raises(InputError, match=r"nothing: no such tag table.*ohsome-1, osmlanduser-1"):
        load_tag_table("nothing")
    (tmp_path / "latin.csv").write_bytes(b"key,value,class\nlanduse,\xe9,forests\n")
    with pytest.raises(InputError, match="not UTF-8"):
        load_tag_table(tmp_path / "latin.csv")
