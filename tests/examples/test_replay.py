"""The replayed upstream: what arrives in which night, written so that no reader meets half a file."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from examples import replay
from include.core.partitions import Partitions
from include.ingestion.landing import look_through
from include.sources import source

NIGHT, NEXT = date(2013, 6, 1), date(2013, 6, 2)


def flights(*rows: tuple[date, int, str | None, str, int]) -> pl.DataFrame:
    """Flights of one carrier from one airport: (day, flight, tailnum, dest, sched_dep_time)."""
    schema = {
        "flight_date": pl.Date,
        "flight": pl.Int64,
        "tailnum": pl.String,
        "dest": pl.String,
        "sched_dep_time": pl.Int64,
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(carrier=pl.lit("AA"), origin=pl.lit("JFK"))


def planned(frame: pl.DataFrame, day: date, flight: int) -> str | None:
    return replay.plan_aircraft(frame).filter(flight_date=day, flight=flight)["planned_aircraft"].item()


MAY_30, MAY_31 = date(2013, 5, 30), date(2013, 5, 31)


def test_a_known_aircraft_is_planned_as_it_flew() -> None:
    assert planned(flights((NIGHT, 1, "N1", "LAX", 900)), NIGHT, 1) == "N1"


def test_a_blank_one_is_the_last_that_flew_the_number() -> None:
    known = [(MAY_30, 1, "N1", "LAX", 900), (MAY_31, 1, "N2", "LAX", 900), (MAY_31, 7, "N7", "LAX", 2300)]
    assert planned(flights(*known, (NIGHT, 1, None, "LAX", 900)), NIGHT, 1) == "N2"


def test_or_else_the_last_that_flew_the_route() -> None:
    known = [(MAY_31, 7, "N7", "LAX", 900), (MAY_31, 8, "N8", "SFO", 2300)]
    assert planned(flights(*known, (NIGHT, 1, None, "LAX", 900)), NIGHT, 1) == "N7"


def test_only_earlier_days_are_looked_at() -> None:
    """The same day and later ones are not known the evening before, when the schedule is written."""
    others = [(NIGHT, 1, "N1", "LAX", 600), (NIGHT, 7, "N7", "LAX", 601), (NEXT, 1, "N9", "LAX", 900)]
    rows = flights(*others, (NIGHT, 2, None, "LAX", 900))
    assert planned(rows, NIGHT, 2) is None


def test_a_blank_one_before_it_does_not_hide_who_flew() -> None:
    known = [(MAY_30, 1, "N1", "LAX", 900), (MAY_31, 1, None, "LAX", 900)]
    assert planned(flights(*known, (NIGHT, 1, None, "LAX", 900)), NIGHT, 1) == "N1"


def test_no_row_is_lost_or_made_up() -> None:
    rows = flights((MAY_31, 1, "N1", "LAX", 900), (MAY_31, 1, "N2", "LAX", 900), (NIGHT, 1, None, "LAX", 900))
    assert replay.plan_aircraft(rows).height == rows.height


@pytest.fixture(scope="module")
def files() -> dict[tuple[str, date], pl.DataFrame]:
    return {(feed, day): rows for feed, day, rows in replay.files_of_night(NIGHT)}


def test_a_night_brings_its_outcomes_and_tomorrows_schedule(files: dict[tuple[str, date], pl.DataFrame]) -> None:
    assert {key: rows.height for key, rows in files.items()} == {
        ("schedule", NEXT): 911,
        ("actuals", NIGHT): 754,
        ("weather", NIGHT): 72,
    }
    assert files["schedule", NEXT]["flight_date"].unique().to_list() == [NEXT]
    assert files["actuals", NIGHT]["flight_date"].unique().to_list() == [NIGHT]


def test_a_schedule_says_nothing_of_the_outcome(files: dict[tuple[str, date], pl.DataFrame]) -> None:
    assert not {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"} & set(files["schedule", NEXT].columns)


def test_a_blank_aircraft_does_not_tell_a_cancellation() -> None:
    """In the data set every blank one is a cancelled flight: left as it is, the schedule would give the label away."""
    raw = replay._flights()
    blank = raw.filter(pl.col("tailnum").is_null())
    assert blank.height == 2512
    assert blank["dep_time"].null_count() == blank.height
    assert blank["planned_aircraft"].null_count() < 0.02 * blank.height


def test_reference_data_comes_with_a_quarter() -> None:
    def feeds(night: date, **more: bool) -> list[str]:
        return [feed for feed, _, _ in replay.files_of_night(night, **more)]

    assert feeds(date(2013, 7, 1))[3:] == ["planes", "airports", "airlines"]
    assert feeds(date(2013, 7, 2))[3:] == []
    assert feeds(date(2013, 7, 2), with_dimensions=True)[3:] == ["planes", "airports", "airlines"]


def test_what_is_written_is_what_the_contract_promises(home: Path) -> None:
    landing = home / "landing"
    assert replay.replay(landing, Partitions(NIGHT, NIGHT), with_dimensions=True) == 6
    flights_source = source("flights")
    rows = {
        feed.name: look_through(next((landing / "flights" / feed.name).glob("*.csv")), feed)["rows"]
        for feed in flights_source.feeds
    }
    assert rows == {
        "schedule": 911,
        "actuals": 754,
        "weather": 72,
        "planes": 3322,
        "airports": 1458,
        "airlines": 16,
    }


def test_the_last_night_has_no_schedule(tmp_path: Path) -> None:
    last = date(2013, 12, 31)
    replay.replay(tmp_path, Partitions(last, last))
    assert not (tmp_path / "flights" / "schedule").exists()


def test_the_same_content_is_left_untouched(tmp_path: Path) -> None:
    path, rows = tmp_path / "feed" / "2013-06-01.csv", pl.DataFrame({"a": [1]})
    replay.write(path, rows)
    before = path.stat()
    replay.write(path, rows)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    replay.write(path, pl.DataFrame({"a": [2]}))
    assert path.stat().st_ino != before.st_ino
    assert path.read_text() == "a\n2\n"


def test_a_reader_never_meets_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last thing that happens is a rename within the folder: before it the old content stands, after it the new."""
    path, seen = tmp_path / "2013-06-01.csv", []
    replay.write(path, pl.DataFrame({"a": [1]}))
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        seen.append((path.read_text(), self.read_text(), self.parent == target.parent))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    replay.write(path, pl.DataFrame({"a": [2]}))
    assert seen == [("a\n1\n", "a\n2\n", True)]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_writer_killed_before_that_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "2013-06-01.csv"
    replay.write(path, pl.DataFrame({"a": [1]}))
    monkeypatch.setattr(Path, "rename", lambda self, target: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        replay.write(path, pl.DataFrame({"a": [2]}))
    assert path.read_text() == "a\n1\n"
    assert [file.suffix for file in tmp_path.iterdir() if not file.name.startswith(".")] == [".csv"]
