"""The catalogue of sources: ``make catalogue`` writes the pages that people read, and the file that dbt reads."""

from __future__ import annotations

import calendar
from pathlib import Path
from typing import Any

import yaml

from include.contracts.connectors import Bucket, Database, Folder, Http, Stream
from include.contracts.dialect import written_changes
from include.contracts.source import BOOKKEEPING, Column, Feed, Form, Mode, Pii, Source, table
from include.contracts.wide import Wide
from include.core.settings import settings
from include.sources import sources

MODES = {
    Mode.PARTITION: "each file is one business day, and every night brings one",
    Mode.SNAPSHOT: "each file is the whole table as of its day; most nights bring none",
    Mode.UPSERT: "each file is the changes of one business day, and every night brings one, if only an empty one",
}


def page_of(source: Source) -> Path:
    """Where the page of ``source`` is."""
    return settings().home / "docs" / "sources" / f"{source.name}.md"


def page(source: Source) -> str:
    """``source`` in Markdown: what it is, who answers for it, and each feed with its columns."""
    lines = [
        f"# {source.name}",
        "",
        f"{source.description}. Made from `include/sources/{source.name}/spec.py` by `make catalogue`.",
        "",
        "| | |",
        "|---|---|",
        f"| owner | {source.owner} |",
        f"| access | {source.access} |",
        f"| schedule | `{source.schedule}`, where its business days end ({source.timezone}) |",
        f"| freshness objective | a night's files within {source.freshness_hours} h of that |",
        f"| first day | {source.first_day} |",
        *_closed(source),
        *([f"| days that never came | {', '.join(map(str, source.gaps))} |"] if source.gaps else []),
        f"| personal columns | {', '.join(_personal(source)) or 'none'} |",
        "",
        "| feed | | key, unique within a day |",
        "|---|---|---|",
        *(f"| [{feed.name}](#{feed.name}) | {feed.description} | {_key(feed)} |" for feed in source.feeds),
        "",
        *(line for feed in source.feeds for line in _feed(source, feed)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _key(feed: Feed) -> str:
    return ", ".join(feed.unique) or "none: rows that are equal are all kept"


def _closed(source: Source) -> list[str]:
    """The days on which no files are due, as rows of a table."""
    weekdays = ", ".join(calendar.day_name[number - 1] for number in source.closed_weekdays)
    found = [f"| closed on | {weekdays} |"] if weekdays else []
    if source.month_days:
        found.append(f"| files only on these days of a month | {', '.join(map(str, source.month_days))} |")
    return found


def _personal(source: Source) -> list[str]:
    return [f"{feed.name}.{column.name}" for feed in source.feeds for column in feed.columns if column.pii != "none"]


def _named(feed: Feed) -> str:
    return feed.files or f"<YYYY-MM-DD>.{feed.extension}"


def _feed(source: Source, feed: Feed) -> list[str]:
    arrives = {0: "of the same day", 1: "of the day before"}.get(feed.lead_days, f"{feed.lead_days} days earlier")
    name = table(source, feed)
    is_nightly = feed.mode is Mode.SNAPSHOT and feed in source.nightly
    often = "each file is the whole table as of its day, and every night brings one" if is_nightly else MODES[feed.mode]
    return [
        f"## {feed.name}",
        "",
        f"{feed.description}. `landing/{source.name}/{feed.name}/{_named(feed)}`: {often}; a "
        f"day's file arrives in the night {arrives}.",
        *([f"A row may come up to {feed.late_days} days late; it goes to its own day."] if feed.late_days else []),
        *([f"{brought} It is kept: delete it to have it fetched again."] if (brought := brought_by(feed)) else []),
        *([f"Written with `{', '.join(said)}`."] if (said := written_changes(feed.dialect)) else []),
        *([wide_of(feed.wide)] if feed.wide else []),
        *([f"`{feed.op}` says what a change is, `{feed.sequence}` in which order they were made."] if feed.op else []),
        *(f"A rule mends {mend}: `{mend.pattern}` becomes `{mend.replacement}`." for mend in feed.mends),
        f"Good rows are in `bronze.{name}`, rows that break their contract in `bronze.{name}__quarantine`; more than "
        f"{feed.max_quarantined_share:.0%} of them fail the night. {kept(feed)}",
        "",
        "| column | type | unit | | allowed |",
        "|---|---|---|---|---|",
        *(
            f"| {column.name} | {_type(column)} | {column.unit} | {column.description}{in_file(column)} | "
            f"{allowed(column)} |"
            for column in feed.columns
        ),
        "",
    ]


def wide_of(wide: Wide) -> str:
    """Which columns of the file become rows, in words."""
    columns = f"like `{wide.columns}`" if isinstance(wide.columns, str) else f"`{', '.join(wide.columns)}`"
    empty = "an empty one has no value" if wide.keep_empty else "an empty one is no row"
    return f"Each cell of the columns {columns} of the file is a row: `{wide.into}` and `{wide.value}`; {empty}."


def _type(column: Column) -> str:
    return f"`{column.type}`" if column.is_nested else column.type


def in_file(column: Column) -> str:
    """What the file has for ``column`` where that is not as its name and type say."""
    names = ("source_name", "place", "pattern", "timezone", "marks")
    said = [one for one in written_changes(column) if one.partition("=")[0] in names]
    return f" (`{', '.join(said)}`)" if said else ""


def kept(feed: Feed) -> str:
    """How long the feed's days stay in bronze, in words."""
    if not feed.retention_days:
        return "They are kept for ever."
    snapshot = ", and the snapshot before them" if feed.mode is Mode.SNAPSHOT else ""
    return f"Kept are {feed.retention_days} days back from the newest one there{snapshot}."


def brought_by(feed: Feed) -> str:
    """Which connector fetches the files of ``feed``, and from where; empty where an upstream puts them there itself."""
    match feed.connector:
        case Http() as api:
            return f"Fetched from the API of the connection `{api.connection}`, `{api.path}`."
        case Database() as base:
            where = f"the table `{base.table}` of the connection `{base.connection}`"
            return f"Fetched from {where}: the rows whose `{base.watermark}` is within the day (UTC)."
        case Bucket() as bucket:
            return f"Fetched from `s3://{bucket.bucket}/{bucket.key}` by the connection `{bucket.connection}`."
        case Stream(events):
            if isinstance(events, Folder):
                where = f"the files in `{events.path}`"
            else:
                where = f"the topic `{events.topic}` of the connection `{events.connection}`"
            return f"Fetched from {where}: the events that have arrived by the end of the night (UTC)."
        case None:
            return ""


def allowed(column: Column) -> str:
    """What values the contract lets through, in words."""
    parts = ["required"] if column.required else []
    if column.values:
        parts.append("one of " + ", ".join(column.values))
    if column.form is Form.HHMM:
        parts.append("a time of day, 0 to 2400")
    if column.minimum is not None and column.maximum is not None:
        parts.append(f"{column.minimum:g} to {column.maximum:g}")
    elif column.minimum is not None:
        parts.append(f"at least {column.minimum:g}")
    elif column.maximum is not None:
        parts.append(f"at most {column.maximum:g}")
    return "; ".join(parts)


def dbt_of(source: Source) -> Path:
    """Where dbt reads what ``source`` is."""
    return settings().home / "dbt_project" / "models" / "staging" / source.name / f"_{source.name}__sources.yml"


def dbt(source: Source) -> str:
    """``source`` as dbt reads it: its tables with their columns, and how long each may bring nothing."""
    described = {
        "name": source.name,
        "description": f"{source.description}. Written by the DAG lakehouse_ingest_{source.name}; every row passed "
        "its contract.",
        "schema": "bronze",
        "config": {"loaded_at_field": "arrived_at", "meta": {"owner": source.owner}},
        "tables": [_dbt_table(source, feed) for feed in source.feeds],
    }
    written = yaml.safe_dump({"sources": [described]}, sort_keys=False, allow_unicode=True, width=1000)
    return f"# Made from include/sources/{source.name}/spec.py by `make catalogue`.\n{written}"


def _dbt_table(source: Source, feed: Feed) -> dict[str, Any]:
    # By the clock, not by the business day: a history that is replayed tonight arrives tonight. Nobody has promised
    # when the next snapshot comes, but of a source that has nothing else.
    most = {"count": 24 + source.freshness_hours, "period": "hour"}
    freshness = {"error_after": most} if feed in source.nightly else None
    columns = [_dbt_column(column) for column in feed.columns]
    columns += [{"name": name, "data_type": kind, "description": text} for name, (kind, text) in BOOKKEEPING.items()]
    return {
        "name": feed.name,
        "identifier": table(source, feed),
        "description": f"{feed.description}.",
        "config": {"freshness": freshness},
        "columns": columns,
    }


def _dbt_column(column: Column) -> dict[str, Any]:
    unit = f", {column.unit}" if column.unit else ""
    personal = {"config": {"meta": {"pii": str(column.pii)}}} if column.pii is not Pii.NONE else {}
    return {
        "name": column.name,
        "data_type": column.shape.kept_as,
        "description": f"{column.description}{unit}",
    } | personal


def write() -> list[Path]:
    """Write every page, and what dbt reads. Returns what was written."""
    texts = {page_of(one): page(one) for one in sources().values()}
    texts |= {dbt_of(one): dbt(one) for one in sources().values()}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(texts)
