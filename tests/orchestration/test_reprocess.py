"""What is in quarantine is shown by night, feed and what is wrong before anything of it is tried again."""

from datetime import date, timedelta

import polars as pl
import pytest
from rich.console import Console

from include.lake import delta
from include.orchestration import reprocess
from include.sources import source
from tests import commands

Capture = pytest.CaptureFixture[str]
FIRST, SECOND = date(2013, 6, 1), date(2013, 6, 2)


pytestmark = pytest.mark.usefixtures("home")


def quarantine(feed: str, *rows: tuple[date, str]) -> None:
    frame = pl.DataFrame(
        [(night, reason, "1,2") for night, reason in rows], schema=["ingestion_date", "reason", "raw"], orient="row"
    )
    delta.append("bronze", f"flights__{feed}__quarantine", frame)


def test_an_empty_quarantine_is_said_to_be_empty(capsys: Capture) -> None:
    assert commands.run("reprocess") == 0
    assert capsys.readouterr().out == "nothing is in quarantine\n"


def test_a_night_without_its_files_is_named_and_left_alone(capsys: Capture) -> None:
    quarantine("actuals", (SECOND, "dest: missing"))
    assert commands.run("reprocess", "--from", "2013-06-02", "--dry-run") == 1
    assert "flights 2013-06-02: in landing there is no file of actuals any more" in capsys.readouterr().err


def test_reasons_are_counted_by_what_is_wrong_and_show_no_value() -> None:
    quarantine("weather", *[(FIRST, f"wind_speed: '{n}' is no double") for n in range(30)], (SECOND, "humid: missing"))
    console = Console(width=100, record=True)
    found = reprocess.counted(source("flights"), reprocess.quarantined(source("flights"), FIRST, SECOND))
    console.print(reprocess.shown(found, "31 rows in quarantine"))
    lines = console.export_text().splitlines()
    assert [line for line in lines if "2013-06-01" in line and " 30 " in line and "wind_speed: is no double" in line]
    assert not [line for line in lines if "'" in line]


def test_of_many_lines_the_number_is_said() -> None:
    days = [FIRST + timedelta(n) for n in range(25)]
    quarantine("weather", *[(day, "wind_speed: missing") for day in days])
    console = Console(width=100, record=True)
    found = reprocess.counted(source("flights"), reprocess.quarantined(source("flights"), days[0], days[-1]))
    console.print(reprocess.shown(found, "25 rows in quarantine"))
    assert "and 5 more" in console.export_text()
