"""Every source: its contract is complete enough to be a contract."""

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import yaml

from include.contracts.connectors import Bucket, Database, Http, Stream
from include.contracts.dialect import RFC_4180
from include.contracts.source import Column, Feed, Form, Mode, Pii, Source
from include.governance import catalogue
from include.sources import sources

SOURCES = list(sources().values())
FEEDS = [(source, feed) for source in SOURCES for feed in source.feeds]
ROOT = Path(__file__).resolve().parents[2]


def name(value: object) -> str:
    return value.name if isinstance(value, Source | Feed) else str(value)


def column_problems(column: Column) -> list[str]:
    """What a column's promise lacks."""
    problems = []
    if not column.description.strip():
        problems.append("has no description")
    if column.kind in ("double", "decimal") and not column.unit:
        problems.append("is a measure without a unit")
    if (column.minimum is not None or column.maximum is not None) and not column.is_number:
        problems.append("has bounds and is no number")
    if column.minimum is not None and column.maximum is not None and column.minimum > column.maximum:
        problems.append("has a minimum above its maximum")
    return [f"{column.name} {problem}" for problem in problems]


def feed_problems(feed: Feed) -> list[str]:
    """What a feed's promise lacks."""
    columns = {column.name: column for column in feed.columns}
    required = {column.name for column in feed.columns if column.required}
    problems = [problem for column in feed.columns for problem in column_problems(column)]
    if not feed.description.strip():
        problems.append("has no description")
    if not feed.key:
        problems.append("has no key")
    problems += [f"key {key} is no column" for key in feed.key if key not in columns]
    problems += [f"key {key} is not required" for key in feed.key if key in columns and not columns[key].required]
    if feed.day_column and feed.day_column not in columns:
        problems.append(f"day column {feed.day_column} is no column")
    elif feed.day_column and (columns[feed.day_column].type != "date" or not columns[feed.day_column].required):
        problems.append(f"day column {feed.day_column} is no required date")
    roles = {"op": feed.op, "sequence": feed.sequence}
    if feed.mode is Mode.UPSERT:
        problems += [f"changes without {role}" for role, named in roles.items() if not named]
        problems += [
            f"{role} {named} is no required column" for role, named in roles.items() if {named} - required - {""}
        ]
        if feed.op in columns and not columns[feed.op].values:
            problems.append(f"op {feed.op} may be anything")
        # A delete has nothing to say but what was deleted.
        kept = {*feed.unique, feed.op, feed.day_column}
        watermark = feed.connector.watermark if isinstance(feed.connector, Database) else ""
        problems += [f"{one} is required, also of a delete" for one in sorted(required - kept - {watermark})]
    elif any(roles.values()):
        problems.append("has op or sequence and is no feed of changes")
    if not 0 <= feed.max_quarantined_share < 1:
        problems.append("its quarantine has no limit")
    if feed.retention_days is None or feed.retention_days < 0:
        problems.append("does not say how many days it keeps")
    return problems


def examples() -> dict[str, Feed]:
    """The feeds that the pages of connectors, of files and of rules show, by name."""
    pages = "".join(
        (ROOT / "docs" / name).read_text() for name in ("connectors.md", "bring-a-file.md", "reprocess-quarantine.md")
    )
    blocks = re.findall(r"```python\n(.*?)```", pages, re.DOTALL)
    found: dict[str, Feed] = {}
    for block in blocks:
        names: dict[str, object] = {}
        exec(compile(block, "connectors.md", "exec"), names)
        found |= {value.name: value for value in names.values() if isinstance(value, Feed)}
    return found


def test_the_page_of_connectors_shows_each_of_them() -> None:
    assert {type(feed.connector) for feed in examples().values() if feed.connector} == {Http, Database, Bucket, Stream}
    assert Mode.UPSERT in {feed.mode for feed in examples().values()}


@pytest.mark.parametrize("feed", examples().values(), ids=name)
def test_an_example_of_a_page_keeps_the_rules(feed: Feed) -> None:
    assert feed_problems(feed) == []
    shown = Source("rides", "rides", "tests", "anybody", "0 0 * * *", 6, date(2020, 1, 1), (feed,))
    page = catalogue.page(shown)
    assert ("Fetched from" in page) == bool(feed.connector)
    assert ("Written with" in page) == (feed.dialect != RFC_4180)
    assert ("is a row" in page) == bool(feed.wide)
    assert page.count("A rule mends") == len(feed.mends)


def test_a_page_shows_rules() -> None:
    assert any(feed.mends for feed in examples().values())


def test_there_is_a_source() -> None:
    assert "flights" in sources()


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_a_source_says_what_it_is_and_who_answers_for_it(source: Source) -> None:
    assert source.description.strip()
    assert source.owner.strip()
    assert source.access.strip()
    assert source.freshness_hours > 0
    assert source.schedule.split()[:2] == ["0", "0"], "the tick is midnight, where a business day ends"
    names = [feed.name for feed in source.feeds]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("source", "feed"), FEEDS, ids=name)
def test_a_feed_keeps_the_rules(source: Source, feed: Feed) -> None:
    assert feed_problems(feed) == []


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_its_page_says_what_its_spec_says(source: Source) -> None:
    path = catalogue.page_of(source)
    assert (path.read_text() if path.exists() else "") == catalogue.page(source), "run `make catalogue`"


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_dbt_is_told_what_its_spec_says(source: Source) -> None:
    path = catalogue.dbt_of(source)
    assert (path.read_text() if path.exists() else "") == catalogue.dbt(source), "run `make catalogue`"


def test_dbt_is_told_how_long_a_feed_may_bring_nothing_and_what_is_personal() -> None:
    email = Column("email", "string", "where to write to", pii=Pii.PERSONAL)
    daily = Feed("daily", "Daily", (email, Column("length", "double", "how long", "mile")), ("email",))
    rare = replace(daily, name="rare", mode=Mode.SNAPSHOT)
    source = Source("s", "S", "them", "all", "0 0 * * *", 6, date(2020, 1, 1), (daily, rare))
    (told,) = yaml.safe_load(catalogue.dbt(source))["sources"]
    each_day, now_and_then = told["tables"]
    assert each_day["config"]["freshness"] == {"error_after": {"count": 30, "period": "hour"}}
    assert now_and_then["config"]["freshness"] is None
    alone = replace(source, feeds=(rare,))
    (only,) = yaml.safe_load(catalogue.dbt(alone))["sources"][0]["tables"]
    assert only["config"]["freshness"] == each_day["config"]["freshness"], "nothing else says that a night has come"
    assert "every night brings one" in catalogue.page(alone)
    assert each_day["columns"][0]["config"] == {"meta": {"pii": "personal"}}
    assert each_day["columns"][1]["description"] == "how long, mile"


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (Column("a", "string", "a"), ""),
        (Column("a", "string", "a", required=True, values=("x", "y")), "required; one of x, y"),
        (Column("a", "int", "a", minimum=0, maximum=2400), "0 to 2400"),
        (Column("a", "int", "a", minimum=-1.5), "at least -1.5"),
        (Column("a", "int", "a", maximum=10000), "at most 10000"),
        (Column("a", "int", "a", required=True, form=Form.HHMM), "required; a time of day, 0 to 2400"),
    ],
)
def test_what_is_allowed_is_said_in_words(column: Column, words: str) -> None:
    assert catalogue.allowed(column) == words


def test_how_long_days_are_kept_is_said_in_words() -> None:
    feed = Feed("f", "F", (Column("a", "string", "a"),), ("a",), retention_days=0)
    assert catalogue.kept(feed) == "They are kept for ever."
    assert catalogue.kept(replace(feed, retention_days=30)).startswith("Kept are 30 days back from the newest")
    assert "snapshot" in catalogue.kept(replace(feed, retention_days=30, mode=Mode.SNAPSHOT))


def test_the_rules_refuse() -> None:
    bad = Feed(
        name="bad",
        description=" ",
        columns=(
            Column("a", "decimal(12,2)", ""),
            Column("b", "string", "text", minimum=1),
            Column("c", "int", ""),
            Column("d", "double", "how much"),
        ),
        key=("a", "e"),
        day_column="b",
    )
    assert feed_problems(bad) == [
        "a has no description",
        "a is a measure without a unit",
        "b has bounds and is no number",
        "c has no description",
        "d is a measure without a unit",
        "has no description",
        "key e is no column",
        "key a is not required",
        "day column b is no required date",
        "does not say how many days it keeps",
    ]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("a", "ingestion_date"), "cannot be named ingestion_date: ingestion adds one of that name"),
        (("a", "Source_File"), "cannot be named Source_File"),
        (("a", "_metadata"), "'_metadata' cannot be the name of a column"),
        (("a", "_reason"), "'_reason' cannot be the name of a column"),
        (("a", "b.c"), "'b.c' cannot be the name of a column"),
        (("a", "b`c"), "cannot be the name of a column"),
        (("a", " "), "' ' cannot be the name of a column"),
        (("a", "a"), "two columns have one name"),
        (("kind", "Kind"), "or names that differ in case only"),
    ],
)
def test_a_column_that_spark_or_ingestion_would_mistake_is_refused_as_the_spec_is_read(
    names: tuple[str, ...], why: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        Feed("f", "F", tuple(Column(name, "string", "a") for name in names), (names[0],))


def test_the_rules_of_changes_refuse() -> None:
    columns = (
        Column("a", "int", "which", required=True),
        Column("op", "string", "what", required=True),
        Column("at", "int", "when"),
        Column("b", "int", "how much", required=True),
    )
    bad = Feed("bad", "bad", columns, key=("a",), mode=Mode.UPSERT, op="op", sequence="at", retention_days=0)
    assert feed_problems(bad) == [
        "sequence at is no required column",
        "op op may be anything",
        "b is required, also of a delete",
    ]
    assert feed_problems(replace(bad, op="", sequence=""))[:2] == ["changes without op", "changes without sequence"]
    assert feed_problems(replace(bad, mode=Mode.PARTITION)) == ["has op or sequence and is no feed of changes"]
