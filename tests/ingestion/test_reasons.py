"""Every reason has a kind, and no kind has a value in it."""

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.contracts.source import Column, Feed, Form, Format
from include.ingestion import reasons
from tests.ingestion.judged import judged
from tests.ingestion.test_verdicts import FEED, HEADER, VERDICTS

SPECIAL = st.text(alphabet="aZ9'; :,.-\n", max_size=30)


def kinds(feed: Feed, said: list[str]) -> list[str]:
    return pl.DataFrame({"reason": said}).select(reasons.of(feed, pl.col("reason"))).to_series().to_list()


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("number: 'two' is no int", "number: is no int"),
        ("number: missing", "number: missing"),
        ("day: 2020-06-02 is another day", "day: is another day"),
        ("kind: 'boat' is not one of the known values; amount: '-1' is below 0", None),
        ("kind: 'O'Neill' is not one of the known values", "kind: is not one of the known values"),
        ("not 6 columns", "another number of columns"),
        ("note: a quote that its line does not close", "note: a quote that its line does not close"),
        ("another row has the same number and differs", "another row has the same key and differs"),
        (
            "another row has the same number, arrived in the night of 2020-06-01 and differs",
            "another row has the same key and differs",
        ),
        ("in words of an earlier version: 'Ann'", "another reason"),
    ],
)
def test_a_kind_is_the_column_and_what_is_wrong(reason: str, kind: str | None) -> None:
    expected = kind or "kind: is not one of the known values; amount: is below 0"
    assert kinds(FEED, [reason]) == [expected]


def test_what_is_wrong_with_one_column_is_not_said_of_another() -> None:
    two = tuple(Column(name, "double", name, minimum=0) for name in ("a", "b"))
    feed = Feed("pair", "pair", two, ("a",))
    assert kinds(feed, ["a: 'x' is no double; b: '-1' is below 0"]) == ["a: is no double; b: is below 0"]


def test_every_reason_that_is_given_has_a_kind(tmp_path: Path) -> None:
    """Or the words of a verdict have changed, and their kind is not found any more."""
    path = tmp_path / "2020-06-01.csv"
    quotes = ['2020-06-01,30,bus,1,"a,', '2020-06-01,31,bus,1,a"b,', '2020-06-01,32,bus,1,"a"b,']
    twins = ["2020-06-01,33,bus,1,,", "2020-06-01,33,tram,1,,"]
    path.write_text("\n".join([HEADER, *VERDICTS, *quotes, *twins, ""]))
    said = judged(FEED, path)["_reason"].drop_nulls().to_list()
    found = kinds(FEED, said)
    assert len(said) > 25
    assert reasons.OTHER not in found
    assert not [kind for kind in found if "'" in kind]


def test_every_reason_of_json_has_a_kind(tmp_path: Path) -> None:
    feed = Feed(
        "calls",
        "calls",
        (Column("who", "string", "who"), Column("flag", "boolean", "f"), Column("at", "int", "t", form=Form.HHMM)),
        ("who",),
        format=Format.JSONL,
    )
    path = tmp_path / f"{date(2020, 6, 1)}.jsonl"
    rows = [{"who": 5}, {"who": "a\0"}, {"who": "\ud800"}, {"who": "b", "flag": 1}, {"who": "c", "at": 1299}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert sorted(kinds(feed, judged(feed, path)["_reason"].to_list())) == [
        "at: is no time of day (HHMM)",
        "flag: is no JSON boolean",
        "who: holds a zero byte",
        "who: holds half a character",
        "who: is no JSON string",
    ]


def test_what_is_wrong_within_a_nested_value_is_said_of_its_column(tmp_path: Path) -> None:
    columns = (Column("call", "int", "which", required=True), Column("legs", "array<int>", "how long each was"))
    feed = Feed("calls", "calls", columns, ("call",), format=Format.JSONL)
    path = tmp_path / f"{date(2020, 6, 1)}.jsonl"
    path.write_text('{"call": 1, "legs": [1, "Ann"]}\n')
    (said,) = judged(feed, path)["_reason"].to_list()
    assert "Ann" in said
    assert kinds(feed, [said]) == ["legs: a value within it"]


@settings(deadline=None, max_examples=10)
@given(st.lists(st.tuples(SPECIAL, SPECIAL), min_size=20))
def test_a_kind_is_made_of_the_spec_alone(values: list[tuple[str, str]]) -> None:
    known = {kind for kind, _ in reasons.patterns(FEED)} | {reasons.OTHER}
    found = kinds(FEED, [f"number: '{one}' is no int; amount: '{other}' is below 0" for one, other in values])
    assert {part for kind in found for part in kind.split("; ")} <= known
