"""How files are named."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.contracts import naming

DAY = date(2024, 3, 9)


@pytest.mark.parametrize(
    ("pattern", "name", "said"),
    [
        ("{day}.csv", "2024-03-09.csv", {}),
        ("{day}/part-*.parquet", "2024-03-09/part-00000-c000.snappy.parquet", {}),
        ("{day:%Y/%m/%d}/*.csv", "2024/03/09/a.csv", {}),
        ("{day:%Y}/{day:%Y-%m}/{day:%Y%m%d}.csv", "2024/2024-03/20240309.csv", {}),
        ("{day:%Y%j}.csv", "2024069.csv", {}),
        ("{day}/{region}.csv", "2024-03-09/North Rhine.csv", {"region": "North Rhine"}),
        ("region={region}/{day}_??.csv.gz", "region=no/2024-03-09_23.csv.gz", {"region": "no"}),
        ("(a+b) {day}.csv", "(a+b) 2024-03-09.csv", {}),
    ],
)
def test_a_name_says_its_day_and_its_columns(pattern: str, name: str, said: dict[str, str]) -> None:
    naming.check(pattern)
    assert naming.read(pattern, name) == (DAY, said)
    assert naming.fits(pattern, name, DAY)
    assert not naming.fits(pattern, name, DAY + timedelta(1))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{day}.csv", "2024-02-30.csv"),
        ("{day}.csv", "2024-3-9.csv"),
        ("{day}.csv", "2024-03-09.csv.part"),
        ("{day}/*.csv", "2024-03-09/.a.csv"),
        ("{day}/*.csv", "2024-03-09/_a.csv"),
        ("{day}/*.csv", "2024-03-09/a/b.csv"),
        ("{day}/{region}.csv", "2024-03-09/.csv"),
        ("{day}.csv", "２０２４-03-09.csv"),
        ("{day:%Y}/{day}.csv", "2023/2024-03-09.csv"),
        ("{day:%Y%j}/{day:%m}.csv", "2024069/04.csv"),
    ],
)
def test_another_name_says_nothing(pattern: str, name: str) -> None:
    naming.check(pattern)
    assert naming.read(pattern, name) is None


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("../{day}.csv", "leads out of the feed's folder"),
        ("/tmp/{day}.csv", "leads out of the feed's folder"),
        ("a//{day}.csv", "leads out of the feed's folder"),
        ("a\\{day}.csv", "leads out of the feed's folder"),
        ("sales.csv", "has no day"),
        ("{day:%m-%d}.csv", "a day has a year"),
        ("{day:%Y-%m}.csv", "a day has a year"),
        ("{day:%Y-%b-%d}.csv", "%b is not understood"),
        ("{day.csv", "a brace that has no other"),
        ("{day}/{}.csv", "a brace that has no other"),
        ("{day}/{region:%Y}.csv", "says how a day is written"),
        ("{day}/{a}-{a}.csv", "a stands there twice"),
        ("{day}/{a}{b}.csv", "where does the first one end"),
    ],
)
def test_a_pattern_that_names_no_day_or_leads_elsewhere_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        naming.check(pattern)


PATTERNS = ("{day}.csv", "{day:%d%m%Y}/{day:%Y}.csv", "{day:%Y/%j}.csv", "a{day:%m}/b{day:%d}/{day:%Y}/c")


@given(st.dates(date(1, 1, 1)), st.sampled_from(PATTERNS))
def test_the_name_of_a_day_says_that_day(day: date, pattern: str) -> None:
    name = naming.name_of(pattern, day)
    if day.year >= 1000:  # of fewer digits is no year of a file
        assert naming.read(pattern, name) == (day, {})


def test_of_several_files_the_name_is_what_they_are_like() -> None:
    assert not naming.is_one("{day}/{region}-*.csv")
    assert naming.name_of("{day}/{region}-*.csv", DAY) == "2024-03-09/*-*.csv"
    assert naming.is_one("{day:%Y}/{day}.csv")
