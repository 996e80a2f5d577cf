"""What is in quarantine is shown by night, feed and reason before anything of it is tried again."""

from datetime import date

import polars as pl
import pytest
from rich.console import Console

from include import release
from include.lake import delta
from include.sources import source

Capture = pytest.CaptureFixture[str]
FIRST, SECOND = date(2013, 6, 1), date(2013, 6, 2)


pytestmark = pytest.mark.usefixtures("home")


def quarantine(feed: str, *rows: tuple[date, str]) -> None:
    frame = pl.DataFrame(
        [(night, reason, "1,2") for night, reason in rows], schema=["night", "reason", "raw"], orient="row"
    )
    delta.append("bronze", f"flights__{feed}__quarantine", frame)


def test_an_empty_quarantine_is_said_to_be_empty(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["release"])
    assert release.main() == 0
    assert capsys.readouterr().out == "nothing is in quarantine\n"


def test_what_is_there_is_shown_and_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quarantine("weather", (FIRST, "wind: too much"), (FIRST, "wind: too much"), (SECOND, "wind: '-'"))
    quarantine("actuals", (SECOND, "dest: missing"))
    monkeypatch.setattr("sys.argv", ["release", "--from", "2013-06-02", "--dry-run"])
    assert release.main() == 0
    out = capsys.readouterr().out
    assert "2 rows in quarantine" in out
    assert "without dry_run, these nights would be ingested again: 2013-06-02" in out
    assert "wind: too much" not in out


def test_a_reason_that_many_rows_share_is_one_line() -> None:
    quarantine("weather", *[(FIRST, "wind: too much")] * 30, *[(SECOND, f"wind: '{n}'") for n in range(25)])
    console = Console(width=80, record=True)
    console.print(release.shown(release.quarantined(source("flights"), FIRST, SECOND)))
    lines = console.export_text().splitlines()
    assert [line for line in lines if "2013-06-01" in line and " 30 " in line]
    assert [line for line in lines if "and 6 more" in line]
