"""A rule of the spec mends a text before the row gets its verdict; each row it touched can be traced to its file."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from include.contracts.source import Column, Feed, Mend, Mode, Source
from include.core.partitions import Partitions
from include.ingestion import ingest, landing
from include.lake import delta
from include.orchestration import reprocess
from tests.ingestion.judged import rows

NIGHT = Partitions.parse("2020-06-11")
TRIPS = Feed(
    name="trips",
    description="trips",
    columns=(
        Column("day", "date", "the day", required=True),
        Column("trip", "int", "which", required=True),
        Column("amount", "double", "how much"),
        Column("kind", "string", "by what", values=("bus", "tram")),
    ),
    key=("trip",),
    day_column="day",
    late_days=3,
    max_quarantined_share=0.9,
)
COMMA = Mend("amount", r"(\d+),(\d\d)", "${1}.${2}", "a till writes a comma")
UNIT = Mend("amount", r"(.+) EUR", "${1}", "a till writes the unit")
BUS = Mend("kind", "(?i:autobus|bus)", "bus", "the old name")
MENDED = replace(TRIPS, mends=(COMMA, UNIT, BUS))
LINES = {
    '2020-06-11,1,"1,50",bus': (1.5, "bus", "amount: a till writes a comma"),
    "2020-06-11,2,2 EUR,Autobus": (2.0, "bus", "amount: a till writes the unit; kind: the old name"),
    "2020-06-11,3,3.25,tram": (3.25, "tram", None),
    "2020-06-11,4,,bus": (None, "bus", None),
    '2020-06-10,5,"4,00",bus': (4.0, "bus", "amount: a till writes a comma"),  # late
    '2020-06-11,6,"5,0",bus': (None, "bus", None),  # not what the rule is about
}


def source(feed: Feed) -> Source:
    return Source("toys", "toys", "toy-team", "anybody", "0 0 * * *", 6, date(2020, 6, 1), (feed,))


def land(home: Path, *lines: str) -> None:
    path = home / "landing" / "toys" / "trips" / f"{NIGHT}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["day,trip,amount,kind", *lines, ""]))


def ingested(feed: Feed) -> dict[str, Any]:
    """Every step of the night's ingestion. Returns its line of the completeness table."""
    of = source(feed)
    plan = landing.plan(of, NIGHT)
    candidates = ingest.load(of, NIGHT, plan)
    audited = ingest.audit(of, NIGHT, plan, candidates)
    ingest.publish_all(of, NIGHT, plan, candidates, audited)
    ingest.discard(candidates, audited)
    (counts,) = delta.read_all("bronze", "toys__completeness").to_dicts()
    assert counts["rows_in"] == counts["published"] + counts["quarantined"] + counts["deduplicated"]
    return counts


def test_a_text_is_mended_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / f"{NIGHT}.csv"
    path.write_text("\n".join(["day,trip,amount,kind", *LINES, ""]))
    found = {row["trip"]: row for row in rows(MENDED, path)}
    for number, (raw, (amount, kind, rules)) in enumerate(LINES.items(), start=1):
        row = found[number]
        assert (row["amount"], row["kind"], row["_mended"]) == (amount, kind, rules)
        assert row["_raw"] == (raw if rules or row["_reason"] else None)
    assert found[6]["_reason"] == "amount: '5,0' is no double"


def test_a_row_is_published_mended_with_its_own_words_beside_it(home: Path) -> None:
    land(home, *LINES)
    before = ingested(TRIPS)
    assert (before["published"], before["quarantined"]) == (2, 4)
    assert not delta.exists("bronze", "toys__trips__mended"), "a feed without rules has no such table"

    after = ingested(MENDED)
    assert (after["published"], after["quarantined"]) == (5, 1)
    told = delta.read_all("bronze", "toys__trips__mended").sort("line")
    assert told.select("partition_day", "ingestion_date", "raw", "line", "rules").rows() == [
        (date.fromisoformat(raw[:10]), NIGHT.first, raw, line, rules)
        for line, (raw, (*_, rules)) in enumerate(LINES.items(), start=2)
        if rules
    ]
    versions = {name: delta.version("bronze", f"toys__trips{name}") for name in ("", "__mended", "__quarantine")}
    ingested(MENDED)
    assert versions == {name: delta.version("bronze", f"toys__trips{name}") for name in versions}

    ingested(TRIPS)  # the rule is taken back
    assert delta.read_all("bronze", "toys__trips__mended").is_empty()
    assert delta.read_all("bronze", "toys__trips__quarantine").height == 4


def test_rows_that_a_rule_makes_equal_are_copies(home: Path) -> None:
    land(home, '2020-06-11,1,"1,50",bus', "2020-06-11,1,1.50,bus", "2020-06-11,2,1,bus")
    assert {"published": 2, "deduplicated": 1, "quarantined": 0}.items() <= ingested(MENDED).items()


def test_what_a_rule_would_release_is_known_before(home: Path) -> None:
    gone, stays = '2020-06-11,7,"7,7,7",bus', "2020-06-11,8,much,bus"
    land(home, *LINES, gone, stays)
    ingested(TRIPS)
    land(home, *LINES, stays, "2020-06-11,9,9,boat")  # a row less, and one that is broken in another way
    before = reprocess.quarantined(source(MENDED), NIGHT.first, NIGHT.last)
    found = reprocess.foreseen(source(MENDED), before)
    no_double = "amount: is no double"
    assert sorted(found.counts.select("kind", "fate", "rows").rows()) == sorted(
        [
            (no_double, reprocess.SOUND, 2),
            (f"{no_double}; kind: is not one of the known values", reprocess.SOUND, 1),
            (no_double, reprocess.CHANGED, 1),
            (no_double, reprocess.STAYS, 2),
            ("kind: is not one of the known values", reprocess.NEW, 1),
        ]
    )
    assert str(found) == (
        "6 rows in quarantine: 3 sound now, 1 changed or gone in the file, 2 would stay; 1 others would come into it. "
        "Of these files 2 rows are published, and 5 would be"
    )
    assert not list((home / "lake" / "candidate").glob("*")), "nothing is left of having looked"
    proposal = reprocess.proposal(source(MENDED), NIGHT)
    assert proposal["summary"].startswith(f"{found}.\n\n| night | feed |")
    assert f"| 2020-06-11 | trips | {no_double} | 2 | stays |" in proposal["summary"]
    assert (proposal["rows"], proposal["nights"]) == (6, [{"from": NIGHT.key, "to": NIGHT.key}])
    assert reprocess.proposal(source(MENDED), Partitions.parse("2020-06-12"))["nights"] == []
    assert ingested(MENDED)["quarantined"] == 3


def test_a_night_whose_files_are_gone_cannot_be_released(home: Path) -> None:
    land(home, *LINES)
    ingested(TRIPS)
    (home / "landing" / "toys" / "trips" / f"{NIGHT}.csv").unlink()
    before = reprocess.quarantined(source(MENDED), NIGHT.first, NIGHT.last)
    with pytest.raises(reprocess.NothingToReprocessError, match=r"toys 2020-06-11: .* there is no file of trips"):
        reprocess.foreseen(source(MENDED), before)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (("amount", "(", "", "w"), "is no pattern"),
        (("amount", "(?=a)b", "", "w"), "is no pattern"),  # Python has look-around, the engine that reads has not
        (("amount", r"(a)\1", "", "w"), "is no pattern"),
        (("amount", r"\p{L}", "", "w"), "is no pattern"),  # and the other way round
        (("amount", "a*", "0", "w"), "also matches nothing"),
        (("amount", "(a)", "$1", "w"), "is no group"),
        (("amount", "(a)", "$1b", "w"), "is no group"),
        (("amount", "(a)", "${2}", "w"), "is no group"),
        (("amount", "(?P<one>a)", "${two}", "w"), "is no group"),
        (("amount", "a", "b", " "), "why"),
        (("amount", "a", "b", "one; two"), "why"),
    ],
)
def test_a_rule_that_does_not_say_what_it_does_is_refused(rule: tuple[str, str, str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Mend(*rule)


def test_a_dollar_can_be_written(tmp_path: Path) -> None:
    feed = replace(MENDED, mends=(Mend("kind", "(?P<what>bus|tram)!", "$$${what}", "w"),))
    path = tmp_path / f"{NIGHT}.csv"
    path.write_text("day,trip,amount,kind\n2020-06-11,1,1,bus!\n")
    assert rows(feed, path)[0]["_reason"] == "kind: '$bus' is not one of the known values"


@pytest.mark.parametrize("column", ["trip", "day"])
def test_which_row_it_is_and_of_which_day_no_rule_may_say(column: str) -> None:
    with pytest.raises(ValueError, match=f"mend of {column}: it says which row it is"):
        replace(TRIPS, mends=(Mend(column, "x", "1", "why"),))


def test_nor_in_which_order_changes_were_made(tmp_path: Path) -> None:
    columns = (*TRIPS.columns, Column("op", "string", "what", required=True), Column("at", "int", "when"))
    changes = replace(TRIPS, columns=columns, mode=Mode.UPSERT, op="op", sequence="at")
    for column in ("op", "at"):
        with pytest.raises(ValueError, match="it says which row it is"):
            replace(changes, mends=(Mend(column, "x", "1", "why"),))
    with pytest.raises(ValueError, match="there is no such column"):
        replace(TRIPS, mends=(Mend("fare", "x", "1", "why"),))
