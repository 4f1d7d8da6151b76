import re

import pytest

from builders.cities import bundled_cities, load_cities, read_cities
from builders.config_sections import Locations
from noldo.errors import ConfigError, InputError


def write(tmp_path, text, name="cities.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_bundled_table_has_ten_thousand_cities_largest_first():
    cities = bundled_cities(10_000)
    populations = [city.population for city in cities]
    assert len(cities) == 10_000
    assert populations == sorted(populations, reverse=True)
    assert populations[-1] > 50_000
    assert {"Shanghai", "Lagos", "São Paulo"} <= {city.name for city in cities[:50]}
    assert all(abs(city.lon) <= 180 and abs(city.lat) <= 90 for city in cities)


def test_fewer_cities_are_the_first_of_more():
    assert bundled_cities(100) == bundled_cities(10_000)[:100]


def test_more_cities_than_the_first_file_holds_come_from_a_larger_one():
    cities = bundled_cities(40_000)
    assert len(cities) == 40_000
    assert cities[:10_000] == bundled_cities(10_000)
    assert 5_000 <= cities[-1].population < 15_000


def test_more_cities_than_there_are_is_an_error_that_says_how_many_there_are(monkeypatch):
    monkeypatch.setattr("builders.cities._BUNDLED_POPULATIONS", (15_000,))  # the others take seconds to read
    with pytest.raises(
        ConfigError, match=r"locations.num_cities: 10000000 cities .* lists \d{5} .* lower it"
    ):
        bundled_cities(10_000_000)


def test_the_users_table_is_sorted_by_population_with_ties_in_file_order(tmp_path):
    path = write(tmp_path, "lat,lon,name,population\n1,2,A,10\n3,4,B,30\n5,6,C,10\n\n7,8,D,20.0\n")
    assert [city.name for city in read_cities(path)] == ["B", "D", "A", "C"]
    assert (read_cities(path)[0].lon, read_cities(path)[0].lat) == (4.0, 3.0)


def test_only_the_most_populous_of_the_users_cities_are_used(tmp_path, caplog):
    path = write(tmp_path, "name,lon,lat,population\nA,1,2,10\nB,3,4,30\nC,5,6,20\n")
    with caplog.at_level("INFO"):
        cities = load_cities(Locations(cities=path, num_cities=2))
    assert [city.name for city in cities] == ["B", "C"]
    assert "3 cities, the 2 most populous are used" in caplog.text


def test_without_a_table_the_bundled_one_is_used():
    assert load_cities(Locations(num_cities=3)) == bundled_cities(3)


def test_spreadsheet_exports_are_read(tmp_path):
    text = (
        '\ufeffCity,Longitude,Latitude,Population,Country\r\n"Cox\'s Bazar, Old", 91.98 ,21.45,253788,BD\r\n'
    )
    (city,) = read_cities(write(tmp_path, text))
    assert (city.name, city.lon, city.population) == ("Cox's Bazar, Old", 91.98, 253_788)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected one place a line, with name, lon, lat, population"),
        ("name,lon,lat,population\n", "a header, but no places below it"),
        ("name,lon,population\nA,1,2\n", "line 1: no columns for lat among 'name, lon, population'"),
        ("name,lon,lat,lat,population\nA,1,2,3,4\n", "line 1: 2 columns for lat"),
        ("name,lon,lat,population\nA,1,2,3\nB,1\n", "line 3: 2 cells, so lat, population is missing"),
        ("name,lon,lat,population\nA,east,2,3\n", "line 2: lon is 'east', expected a number"),
        ("name,lon,lat,population\nA,1,nan,3\n", "line 2: lat is 'nan', expected a number"),
        ("name,lon,lat,population\nA,1,,3\n", "line 2: lat is '', expected a number"),
        ("name,lon,lat,population\nA,1,2,1_000\n", "line 2: population is '1_000', expected a number"),
        ("name,lon,lat,population\nA,181,2,3\n", "line 2: lon is 181, expected -180..180"),
        ("name,lon,lat,population\nA,1,-91,3\n", "line 2: lat is -91, expected -90..90"),
        ("name,lon,lat,population\nA,1,2,-3\n", "line 2: population is -3, expected 0..1e+10"),
        ("name;lon;lat;population\nA;1;2;3\n", "line 1: no columns for name"),
        (b"name,lon,lat,population\nM\xfcnchen,1,2,3\n", "not UTF-8 (invalid start byte at byte 25)"),
    ],
)
def test_a_table_that_cant_be_used_is_one_line_with_its_place(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}.*{re.escape(message)}") as caught:
        read_cities(path)
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.csv: can't be read \(No such file or directory\)"):
        read_cities(tmp_path / "nowhere.csv")
