"""The second replayed upstream: a line a night, as the data set has it, under the contract of its source."""

from pathlib import Path

from examples import seattle
from include.core.partitions import Partitions
from include.sources import source
from tests.ingestion.judged import judged

NEW_YEAR = Partitions.parse("2011-12-31..2012-01-02")


def files(landing: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((landing / "seattle_weather" / "daily").iterdir())}


def test_a_night_brings_its_day_and_a_day_before_the_data_nothing(tmp_path: Path) -> None:
    header = "date,precipitation,temp_max,temp_min,wind,weather\n"
    assert seattle.replay(tmp_path, NEW_YEAR) == 2
    assert files(tmp_path) == {
        "2012-01-01.csv": f"{header}2012/01/01,0.0,12.8,5.0,4.7,drizzle\n",
        "2012-01-02.csv": f"{header}2012/01/02,10.9,10.6,2.8,4.5,rain\n",
    }


def test_a_second_time_nothing_is_written(tmp_path: Path) -> None:
    seattle.replay(tmp_path, NEW_YEAR)
    path = tmp_path / "seattle_weather" / "daily" / "2012-01-01.csv"
    before = path.stat()
    assert seattle.replay(tmp_path, NEW_YEAR) == 2
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_no_day_is_lost_and_each_keeps_the_contract(home: Path) -> None:
    this, landing = source("seattle_weather"), home / "landing"
    assert seattle.replay(landing, seattle.FIRST_TO_LAST) == len(seattle.FIRST_TO_LAST.days) == 1461
    assert seattle.FIRST_TO_LAST.first == this.first_day
    rows = judged(this.feed("daily"), *(landing / "seattle_weather" / "daily").iterdir())
    assert sorted(rows["weather_date"]) == seattle.FIRST_TO_LAST.days
    assert rows["_reason"].null_count() == rows.height


def test_after_the_last_day_nothing_comes(tmp_path: Path) -> None:
    assert seattle.replay(tmp_path, Partitions.parse("2016-01-01")) == 0
