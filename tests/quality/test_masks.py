"""What is personal in a row that broke its contract is not shown, whatever the row looks like."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.contracts.dialect import Dialect
from include.contracts.source import Column, Feed, Format, Pii
from include.contracts.wide import Wide
from include.quality.masks import MASK, row

COLUMNS = (
    Column("number", "int", "which", required=True, place=1, width=6),
    Column("person", "string", "who", pii=Pii.PERSONAL, place=7, width=12),
    Column("amount", "double", "how much", "EUR", place=20, width=8),
)
NAMES = ["number", "person", "amount"]


def feed(written: Format = Format.CSV, **more: Any) -> Feed:
    columns = COLUMNS
    if written is not Format.FIXED:
        columns = tuple(Column(one.name, one.type, one.description, one.unit, pii=one.pii) for one in COLUMNS)
    return Feed("pays", "pays", columns, ("number",), format=written, **more)


LOG = feed(Format.LOG, dialect=Dialect(pattern=r"(?P<number>\d+) (?P<person>\S+) .* (?P<amount>\S+)"))


@pytest.mark.parametrize(
    ("of", "raw", "columns", "shown"),
    [
        (feed(), "7,Ann,x", NAMES, "7,•••,x"),
        (feed(), "Ann,7,x", ["person", "number", "amount"], "•••,7,x"),
        (feed(), '7,"Ann, ""A""",x', NAMES, "7,•••,x"),
        (feed(), "7,,x", NAMES, "7,,x"),  # nothing there is nothing to hide
        (feed(), "7,Ann,x,more", [*NAMES, "note"], "7,•••,x,•••"),  # nobody has said what the added column is
        (feed(), "7,Ann,x,more", NAMES, MASK),
        (feed(), "7,Ann", NAMES, MASK),
        (feed(), '7,"Ann,x', NAMES, MASK),
        (feed(), "7,Ann,x", None, MASK),
        (feed(dialect=Dialect(delimiter="||")), "7||Ann||x", NAMES, "7||•••||x"),
        (feed(dialect=Dialect(delimiter="||")), '7||"A||n"||x', NAMES, "7||•••||x"),
        (feed(dialect=Dialect(delimiter=";", quote="", escape="")), "7;'Ann;x", NAMES, "7;•••;x"),
        (feed(dialect=Dialect(escape="\\")), '7,"A\\"nn",x', NAMES, "7,•••,x"),
        (
            feed(Format.JSONL),
            '{"number": 7, "person": "Ann", "amount": "x"}',
            None,
            '{"number": 7, "person": "•••", "amount": "x"}',
        ),
        (feed(Format.JSONL), "[1", None, MASK),
        (feed(Format.FIXED), "7     Ann          x", None, "7     ••• x"),
        (feed(Format.FIXED), "7     Ann         !x       Ann", None, None),
        (LOG, "7 Ann by Ann x", None, "7 ••••••x"),
        (LOG, "nothing of the kind, Ann", None, MASK),
        (feed(Format.XLSX), "7,Ann,x", None, "7,•••,x"),
        (feed(Format.XLSX), "7,Ann, A,x", None, MASK),
    ],
)
def test_personal_columns_are_hidden(of: Feed, raw: str, columns: list[str] | None, shown: str | None) -> None:
    found = row(of, raw, columns)
    assert "Ann" not in found
    if shown is not None:
        assert found == shown


def test_what_is_personal_within_a_nested_value_hides_all_of_it() -> None:
    columns = (
        Column("number", "int", "which", required=True),
        Column("email", "string", "who", source_name=("person", "email"), pii=Pii.PERSONAL),
        Column("age", "int", "how old", source_name=("person", "age")),
    )
    of = Feed("pays", "pays", columns, ("number",), format=Format.JSONL)
    raw = '{"number": 7, "person": {"email": "Ann", "age": 40}}'
    assert row(of, raw, None) == '{"number": 7, "person": "•••"}'


def test_a_cell_of_a_line_with_others_is_hidden_with_them() -> None:
    columns = (
        Column("person", "string", "who", required=True, pii=Pii.PERSONAL),
        Column("month", "string", "when", required=True),
        Column("amount", "double", "how much", "EUR"),
    )
    wide = Wide(into="month", value="amount", columns=r"m\d+")
    of = Feed("pays", "pays", columns, ("person", "month"), wide=wide)
    assert row(of, '"m1" Ann,much,3', ["person", "m1", "m2"]) == MASK


def test_a_feed_without_personal_columns_is_shown_as_it_is() -> None:
    plain = Feed("a", "a", (Column("number", "int", "which"),), ("number",))
    assert row(plain, '7,"x', None) == '7,"x'


# A personal value, and what stands around it, have no letter in common.
PERSON = st.text(alphabet="PQRS\",;\n\\ '|", min_size=1, max_size=12).filter(lambda text: set(text) & set("PQRS"))
OTHER = st.text(alphabet="abc0\",;\n\\ '|", max_size=12)
DIALECTS = [
    Dialect(),
    Dialect(delimiter=";"),
    Dialect(delimiter="||"),
    Dialect(escape="\\"),
    Dialect(quote="", escape=""),
    Dialect(trim=True),
]


def written(value: str, dialect: Dialect) -> str:
    """``value`` as whoever writes ``dialect`` does; without quotes no value holds what is between two."""
    if not dialect.quote:
        return "".join(sign for sign in value if sign not in dialect.delimiter)
    signs = {dialect.quote, dialect.escape}
    return '"' + "".join(dialect.escape + sign if sign in signs else sign for sign in value) + '"'


@settings(deadline=None)
@given(st.sampled_from(DIALECTS), PERSON, OTHER, OTHER, st.permutations(NAMES))
def test_a_personal_value_never_appears(
    dialect: Dialect, person: str, number: str, amount: str, order: list[str]
) -> None:
    values = {"number": number, "person": person, "amount": amount}
    raw = dialect.delimiter.join(written(values[name], dialect) for name in order)
    found = row(feed(dialect=dialect), raw, order)
    assert not set(found) & set("PQRS")
    assert found != MASK, "a row that can be taken apart is"


@settings(deadline=None)
@given(st.sampled_from(DIALECTS), PERSON, OTHER, st.sampled_from(["", "more"]))
def test_nor_in_a_row_that_has_other_columns_than_its_file(
    dialect: Dialect, person: str, number: str, more: str
) -> None:
    values = [number, person, *([more, more] if more else [])]
    raw = dialect.delimiter.join(written(value, dialect) for value in values)
    assert row(feed(dialect=dialect), raw, NAMES) == MASK


@settings(deadline=None)
@given(st.text(alphabet='PQ",\\', min_size=1).filter(lambda text: set(text) & set("PQ")), OTHER)
def test_nor_in_json(person: str, key: str) -> None:
    raw = json.dumps({"number": 7, "person": person, f"{key}x": person, "amount": {"a": 1}})
    found = row(feed(Format.JSONL), raw, None)
    assert not set(found) & set("PQ")
    assert json.loads(found)["number"] == 7
