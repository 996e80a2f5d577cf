"""``make source``: from a sample to a source that runs, with each guess marked in its spec."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
from upath import UPath

from include.contracts.dialect import written_changes
from include.contracts.source import Column, Compression, Copies, Feed, Finished, Format, Mode, Pii, Source
from include.core.settings import settings
from include.governance import catalogue
from include.ingestion.proposing.columns import day_of
from include.scaffold import fixture, guesses, sample
from include.scaffold.errors import ScaffoldError
from include.scaffold.names import check_name, words
from include.scaffold.rendering import Marks, render
from include.scaffold.sample import Sample
from include.scaffold.tables import MANY_VALUES, WHOLE
from include.scaffold.writing import write_all
from include.sources import sources

NO_KEY = "none"  # what a person says for the key where rows have none
FILE_DAY = "file"  # what a person says for the day where it is that of the file
EVENT_DATE = "event_date"  # what silver calls a day that has no name of its own
NO_NAMES = ("day", "date")


@dataclass(frozen=True)
class Silver:
    """A column of the staging and the core model: its ``select`` in staging, and what its contract says."""

    name: str
    select: str
    type: str
    description: str


@dataclass(frozen=True)
class Guessed:
    """A feed with everything that was guessed of it.

    Attributes:
        column_guesses: what to confirm of a column, by its name.
        days: those of the sample's rows, in order; that of its file where the rows carry none.
    """

    feed: Feed
    sample: Sample
    column_guesses: dict[str, str]
    mode_guess: str
    key_guess: str
    day_guess: str
    days: tuple[date, ...]

    @property
    def personal(self) -> list[str]:
        return [column.name for column in self.feed.columns if column.pii is Pii.PERSONAL]


@dataclass(frozen=True)
class Written:
    """What a scaffold has written: the paths below the repository, the marks in their order, and what to do next."""

    files: list[str]
    marks: list[str]
    following: list[str]


def make(
    root: Path,
    name: str,
    place: UPath,
    *,
    owner: str = "data-platform",
    day: str = "",
    key: Sequence[str] = (),
    names: Sequence[str] = (),
    rename: bool = False,
    mode: str = "",
) -> Written:
    """Write the source ``name`` for the sample at ``place``: spec, dbt models, page, fixture and tests.

    ``day`` is the column with the rows' own day, or ``file``; ``key`` and ``names`` are columns; ``mode`` is how files
    add up, a value of ``Mode``. What is not said is guessed. Raises ScaffoldError; nothing is written then.
    """
    check_name("source", name)
    if name in sources():
        raise ScaffoldError(f"source {name!r}: there is one already, in include/sources/{name}")
    if mode and mode not in set(Mode):
        raise ScaffoldError(f"mode={mode}: it is one of {', '.join(Mode)}")
    said = Mode(mode) if mode else None
    feeds = [guessed(one, day, key, said) for one in sample.read(place, name, names, rename, said)]
    marks = Marks("GUESS")
    spec = _spec(name, owner, feeds, marks)
    files, at = _files(name, feeds, spec), min(feed.days[0] for feed in feeds)
    return Written(write_all(root, files), marks.said, _following(name, feeds, at))


def guessed(found: Sample, day: str = "", key: Sequence[str] = (), mode: Mode | None = None) -> Guessed:
    """The feed of a sample with all that its rows let guess. Raises ScaffoldError where they say too little."""
    rows = found.rows
    feed, mode_guess = _mode(found.feed, rows, mode)
    names = [column.name for column in feed.columns]
    said = [one for one in (*key, day) if one and one not in (NO_KEY, FILE_DAY)]
    if odd := [one for one in said if one not in names]:
        raise ScaffoldError(f"{feed.name} has no column {odd[0]}; it has {', '.join(names)}")
    day_column, day_guess = _day(feed, rows, day)
    dates = _dates(found, feed, day_column)
    its_key, key_guess = _key(feed, rows, key, day_column or "partition_day")
    columns, said_of = [], {}
    for column in feed.columns:
        is_named = column.name in (*its_key, feed.sequence)
        mine, guess = _column(column, rows[column.name], is_named, column.name in (day_column, feed.op))
        if column.name == feed.op:
            mine = replace(mine, values=guesses.ops(rows[feed.op]))
            guess = f"{column.name}: no other values than these {len(mine.values)}, whether the sample has them or not"
        columns.append(mine)
        if guess:
            said_of[column.name] = guess
    copies = Copies.DROP if its_key else Copies.KEEP
    whole = replace(feed, columns=tuple(columns), key=its_key, copies=copies, day_column=day_column, retention_days=730)
    return Guessed(whole, found, said_of, mode_guess, key_guess, day_guess, dates)


def _mode(feed: Feed, rows: pl.DataFrame, mode: Mode | None) -> tuple[Feed, str]:
    """``feed`` with how its files add up, and what is only assumed of that."""
    if feed.mode is Mode.UPSERT:
        guess = (
            f"each file is the changes of its day, one without rows where nothing changed: {feed.op} says what was "
            f"done, {feed.sequence} in which order"
        )
        return feed, guess
    if mode is Mode.SNAPSHOT or (mode is None and feed.is_one_file and guesses.is_snapshot(feed, rows)):
        why = "as you said it" if mode else "since most rows are in the file before too, unchanged"
        return replace(feed, key=_names(feed), copies=Copies.DROP, mode=Mode.SNAPSHOT), (
            f"each file is the whole table as of its day, {why}; else remove the line"
        )
    return feed, ""


def _names(feed: Feed) -> tuple[str, ...]:
    return tuple(column.name for column in feed.columns if not column.is_nested)


def _dates(found: Sample, feed: Feed, day_column: str) -> tuple[date, ...]:
    """The days of the sample, in order: those of its rows; of changes, of which a day may have none, of its files."""
    if day_column:
        return tuple(sorted(found.rows[day_column].unique()))
    if feed.mode is Mode.UPSERT:
        return tuple(sorted(map(day_of, found.files.values())))
    return tuple(sorted(found.rows["partition_day"].unique()))


def _key(feed: Feed, rows: pl.DataFrame, key: Sequence[str], day: str) -> tuple[tuple[str, ...], str]:
    """The columns by which rows of a day are told apart, none where all are kept, and what is only assumed of that.

    Changes are told apart by their sequence as well.
    """
    if feed.mode is Mode.UPSERT:
        return _key_of_changes(feed, rows, key, day)
    if tuple(key) == (NO_KEY,):
        return (), "rows have no key, as you said it: equal ones are different things, and all of them are kept"
    found = tuple(key) or guesses.key(feed, rows, [day])
    if found and guesses.is_key(rows, [*found, day]):
        guess = f"no two rows of a day are equal in {', '.join(found)}, in the sample"
        return found, "the key, as you said it" if key else guess
    odd = f"key={','.join(key)}: rows of one day are equal in it" if key else "no few columns tell rows of a day apart"
    raise ScaffoldError(
        f"{feed.name}: {odd}. Say which columns do: key=a,b; or key=none where equal rows are different things, and "
        "each is kept; or take the copies out of the sample"
    )


def _key_of_changes(feed: Feed, rows: pl.DataFrame, key: Sequence[str], day: str) -> tuple[tuple[str, ...], str]:
    found = tuple(key) or guesses.key_of_changes(feed, rows)
    if not found or NO_KEY in found or not guesses.is_key(rows, [*found, feed.sequence, day]):
        raise ScaffoldError(
            f"{feed.name}: which columns name what is changed? key=a,b; no two changes of a day may be equal in these "
            f"and in {feed.sequence}"
        )
    return found, f"what is changed is named by {', '.join(found)}{', as you said it' if key else ''}"


def _day(feed: Feed, rows: pl.DataFrame, day: str) -> tuple[str, str]:
    """The column with the rows' own day, empty where it is their file's, and what is only assumed of that."""
    column = next((column for column in feed.columns if column.name == day), None)
    if column and (column.type != "date" or not column.required):
        raise ScaffoldError(f"day={day}: that column is no date that each row has; day=file takes the day of the file")
    found = day if column else "" if day == FILE_DAY else guesses.day_column(feed, rows)
    if feed.mode is not Mode.PARTITION and not day:
        found = guesses.file_day_column(feed, rows)
        if not found:
            return "", "a row is of the day of its file"
    if found:
        step = guesses.step_days(rows[found].to_list())
        often = f"; its days lie {step} days apart: is the calendar of the source right?" if step > 1 else ""
        several = "" if guesses.is_of_one_day(rows, found) else "; the sample has several days, a night's file has one"
        return found, f"{found} is the event date of a row, and of its file{several}{often}"
    if day == FILE_DAY:
        return "", "the event date of a row is the day of its file"
    if any(column.type == "timestamp" for column in feed.columns):
        return "", "rows carry a time and no date: their event date is the day of their file"
    raise ScaffoldError(
        f"{feed.name}: no column is a date that each row has, so that nobody can tell a row's event date. Add one, or "
        "say day=file where it is the day of the file"
    )


def _column(column: Column, values: pl.Series, in_key: bool, is_day: bool) -> tuple[Column, str]:
    """``column`` with its bounds, its closed set, its unit and its class, and what is guessed of it."""
    said: list[str] = []
    changed: dict[str, Any] = {"description": words(column.name), "required": column.required or in_key or is_day}
    if why := guesses.personal(column, values):
        changed["pii"] = Pii.PERSONAL
        said.append(f"personal, since {why}: silver gets a pseudonym")
    elif not in_key and (closed := guesses.closed_set(column, values)):
        changed["values"] = closed
        said.append(f"no other values than these {len(closed)}; another one goes to the quarantine")
    low, high = (None, None) if in_key or why else guesses.bounds(column, values)
    if low is not None or high is not None:
        changed |= {"minimum": low, "maximum": high}
        said.append(f"{values.min()!s} to {values.max()!s} in the sample, and ten times as much is let through")
    if column.kind in ("double", "decimal"):
        changed["unit"] = "unit?"
        said.append("which unit?")
    if share := guesses.nulls(values):
        said.append(f"{share:.1%} of it is missing")
    return replace(column, **changed), f"{column.name}: {'; '.join(said)}" if said else ""


def silver_of(feed: Feed) -> list[Silver]:
    """The columns of the staging model: nothing nested, and pseudonyms for what is personal."""
    found = (
        [] if feed.day_column else [Silver(EVENT_DATE, f"partition_day as {EVENT_DATE}", "date", "the day of the file")]
    )
    for column in feed.columns:
        if column.is_nested or column.type == "binary":
            continue
        unit = f", {column.unit}" if column.unit else ""
        if column.pii is Pii.PERSONAL:
            name = f"{column.name}_pseudonym"
            told = f"who it is, without saying so: a pseudonym of {words(column.name)}"
            found.append(Silver(name, f"{{{{ pseudonym('{column.name}') }}}} as {name}", "string", told))
        else:
            name = event_date_of(feed) if column.name == feed.day_column else column.name
            select = column.name if name == column.name else f"{column.name} as {name}"
            found.append(Silver(name, select, column.shape.kept_as, f"{column.description}{unit}"))
    names = [one.name.casefold() for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ScaffoldError(f"{feed.name}: two columns of silver would be named {twice[0]}: rename one in the sample")
    return found


def many_values(feed: Feed, rows: pl.DataFrame) -> dict[str, int]:
    """How many values a text or a whole number of silver has in the sample, where these are too many to list."""
    found = {}
    for column in feed.columns:
        if column.type in ("string", *WHOLE) and (n := rows[column.name].drop_nulls().n_unique()) > MANY_VALUES:
            found[f"{column.name}_pseudonym" if column.pii is Pii.PERSONAL else column.name] = n
    return found


def event_date_of(feed: Feed) -> str:
    """What silver calls the day of the rows: as the feed does, where that is more than a word of SQL."""
    return EVENT_DATE if feed.day_column in ("", *NO_NAMES) else feed.day_column


def core_of(source: str, feed: Feed) -> str:
    """The name of the core model of a feed."""
    return f"fct_{source}" if feed.name == source else f"fct_{source}_{feed.name}"


def _primary(feed: Feed) -> list[str]:
    """The columns in which no two rows of silver are equal; none where all copies are kept."""
    if not feed.key:
        return []
    personal = {column.name for column in feed.columns if column.pii is Pii.PERSONAL}
    names = [f"{one}_pseudonym" if one in personal else one for one in feed.unique]
    return [event_date_of(feed), *(name for name in names if name != feed.day_column)]


def _spec(name: str, owner: str, feeds: Sequence[Guessed], marks: Marks) -> str:
    described = [
        {
            "name": one.feed.name,
            "constant": one.feed.name.upper(),
            "description": words(one.feed.name).capitalize(),
            "words_guess": f"what {one.feed.name} is, and what its columns mean: said are only their names",
            "notes": one.sample.notes,
            "columns": [
                {"guess": one.column_guesses.get(column.name, ""), "code": _code(column)} for column in one.feed.columns
            ],
            "mode": one.feed.mode.name,
            "mode_guess": one.mode_guess,
            "key": repr(one.feed.key),
            "key_guess": one.key_guess,
            "day_guess": one.day_guess,
            "day_column": one.feed.day_column,
            "others": _others(one.feed),
        }
        for one in feeds
    ]
    closed, month_days = guesses.calendar([day for one in feeds for day in one.days])
    return render(
        "source/spec.py.j2",
        name=name,
        owner=owner,
        description=words(name).capitalize(),
        feeds=described,
        has_dialect=any(written_changes(one.feed.dialect) for one in feeds),
        first_day=min(one.days[0] for one in feeds),
        closed_weekdays=closed,
        month_days=month_days,
        mark=marks,
    )


def _code(column: Column) -> str:
    given = [repr(column.name), repr(column.type), repr(column.description)]
    return f"Column({', '.join([*given, *written_changes(column)])})"


def _others(feed: Feed) -> list[str]:
    """What else a feed says, a line each."""
    found = []
    if feed.format is not Format.CSV:
        found.append(f"format=Format.{feed.format.name}")
    if feed.compression is not Compression.NONE:
        found.append(f"compression=Compression.{feed.compression.name}")
    if feed.finished is not Finished.LINE_END:
        found.append(f"finished=Finished.{feed.finished.name}")
    if feed.copies is Copies.KEEP:
        found.append("copies=Copies.KEEP")
    names = ("op", "sequence", "within", "files", "least_files")
    found += [f"{name}={getattr(feed, name)!r}" for name in names if getattr(feed, name)]
    if said := written_changes(feed.dialect):
        found.append(f"dialect=Dialect({', '.join(said)})")
    return found


def spec_of(text: str, name: str) -> Source:
    """The source that the spec ``text`` makes, read as Python reads it. Raises ScaffoldError where it makes none."""
    module = ModuleType(f"include.sources.{name}.spec")
    sys.modules[module.__name__] = module  # where dataclasses look for it
    try:
        # The scaffold has written it: what it takes from a file is quoted there, or in a comment.
        exec(compile(text, f"include/sources/{name}/spec.py", "exec"), module.__dict__)  # noqa: S102
    except ValueError as error:
        raise ScaffoldError(f"the spec of {name} would not be one: {error}") from None
    finally:
        del sys.modules[module.__name__]
    found: Source = module.SOURCE
    return found


def _files(name: str, feeds: Sequence[Guessed], spec: str) -> dict[str, str | bytes]:
    source = spec_of(spec, name)
    models, tests = "dbt_project/models", f"tests/sources/{name}"
    # All feeds of the fixture are of one night, so that one is complete.
    day = _fixture_day(feeds)
    described = [
        {
            "staging": f"stg_{name}__{feed.name}",
            "core": core_of(name, feed),
            "description": feed.description,
            "silver": silver_of(feed),
            "primary": _primary(feed),
            "many_values": many_values(feed, one.sample.rows),
            "rows": one.sample.rows.height,
        }
        for one, feed in zip(feeds, source.feeds, strict=True)
    ]
    found: dict[str, str | bytes] = {
        f"include/sources/{name}/__init__.py": render("source/__init__.py.j2", name=name),
        f"include/sources/{name}/spec.py": spec,
        f"{models}/staging/{name}/_{name}__sources.yml": catalogue.dbt(source),
        f"{models}/staging/{name}/_{name}__models.yml": render("source/staging.yml.j2", feeds=described),
        f"{models}/marts/core/{name}/_{name}__core.yml": render("source/core.yml.j2", feeds=described),
        f"docs/sources/{name}.md": catalogue.page(source),
    }
    for feed in source.feeds:
        columns, day_column = silver_of(feed), feed.day_column
        found[f"{models}/staging/{name}/stg_{name}__{feed.name}.sql"] = render(
            "source/staging.sql.j2",
            source=name,
            feed=feed.name,
            columns=[column.select for column in columns],
            day_column=day_column,
        )
        found[f"{models}/marts/core/{name}/{core_of(name, feed)}.sql"] = render(
            "source/core.sql.j2", columns=columns, day=event_date_of(feed), staging=f"stg_{name}__{feed.name}"
        )
    rows = {}
    for one, feed in zip(feeds, source.feeds, strict=True):
        files = fixture.files_of(one.sample, one.feed, day, one.personal)
        rows[feed.name] = _rows_of(one, day, len(files))
        found |= {f"{tests}/fixture/{feed.name}/{path}": content for path, content in files.items()}
    core = {core_of(name, feed): rows[feed.name] for feed in source.feeds}
    found[f"{tests}/test_{name}.py"] = render("source/test.py.j2", name=name, day=day, rows=rows, core=core)
    return found


def _fixture_day(feeds: Sequence[Guessed]) -> date:
    """The last day of which all feeds have rows; the last of any where they have none in common."""
    days = [set(_dates(one.sample, replace(one.feed, mode=Mode.PARTITION), one.feed.day_column)) for one in feeds]
    return max(set.intersection(*days) or set.union(*days))


def _rows_of(one: Guessed, day: date, files: int) -> int:
    its = one.sample.rows.filter(fixture.is_of_day(one.sample, one.feed, day))
    if not files:
        raise ScaffoldError(
            f"{one.feed.name} has no rows of {day}, which the other feeds have: give samples of one day"
        )
    counts = its.group_by("source_file").len()["len"]
    most = fixture.ROWS if one.feed.format in (*fixture.OF_LINES, Format.PARQUET) else its.height
    return int(counts.clip(upper_bound=most).sum())


def _landed(source: str, feed: Feed) -> str:
    """How the files of ``feed`` get into landing: nobody has made its folder yet."""
    folder = str(settings().landing / source / feed.name).removeprefix(f"{settings().home}/")
    if "://" in folder:
        return f"put the files below {folder}/, named {feed.pattern}"
    return f"mkdir -p {folder} && cp <files> {folder}/  # named {feed.pattern}"


def _following(name: str, feeds: Sequence[Guessed], first: date) -> list[str]:
    return [
        "make catalogue  # the page of its DAGs",
        "make check",
        *(_landed(name, one.feed) for one in feeds),
        f"make night source={name} partition={first}",
        f"make use-case name=… source={name} task=binary|multiclass|regression label=… entity=…",
    ]
