"""New sources and use cases, one partition of them on this machine, and what they leave behind."""

from __future__ import annotations

import argparse

from upath import UPath

from include.cli.options import flag, names, partition
from include.core.settings import settings


def source_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True)
    parser.add_argument("--from", dest="place", required=True, help="a file, or a folder with the files of a day")
    parser.add_argument("--owner", default="data-platform")
    parser.add_argument("--day", default="", help="the column with a row's event date, or file")
    parser.add_argument("--key", type=names, default=(), help="columns that tell the rows of a day apart, or none")
    parser.add_argument("--columns", type=names, default=(), help="names for those of a file without a header")
    flag(parser, "--rename", "give columns with a taken name another one")
    parser.add_argument("--mode", default="", help="how files add up: partition, snapshot or upsert, which is changes")


def source(given: argparse.Namespace) -> int:
    """Write a source. Raises ScaffoldError."""
    from include.scaffold import source

    written = source.make(
        settings().home,
        given.name,
        UPath(given.place).expanduser().absolute(),  # not every shell does it behind the = of an argument
        owner=given.owner,
        day=given.day,
        key=given.key,
        names=given.columns,
        rename=given.rename,
        mode=given.mode,
    )
    _tell(written.files, written.marks, "GUESS", f"include/sources/{given.name}/spec.py", written.following)
    return 0


def use_case_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True)
    parser.add_argument("--source", type=names, required=True, help="that of entity and label, then further ones")
    parser.add_argument("--join", type=names, default=(), help="of a further source: clicks.client=customer")
    parser.add_argument("--task", required=True, help="binary, multiclass or regression")
    parser.add_argument("--label", required=True, help="what to predict, in SQL")
    parser.add_argument("--entity", type=names, required=True, help="the columns that name one thing to predict")
    parser.add_argument("--label-days", type=int, default=0, help="days from the event date until its label is known")
    parser.add_argument("--population", default="", help="a condition on rows, or a core model of the source")
    parser.add_argument("--table", default="", help="the core model, where several have the columns of the entity")
    parser.add_argument("--classes", type=names, default=(), help="of a multiclass label: a,b,c")
    parser.add_argument("--every", default="day", help="day, week or month")
    parser.add_argument("--owner", default="data-science")


def use_case(given: argparse.Namespace) -> int:
    """Write a use case. Raises ScaffoldError."""
    from include.scaffold import use_case

    source, *further = given.source or [""]
    written = use_case.make(
        settings().home,
        given.name,
        source=source,
        task=given.task,
        label=given.label,
        entity=given.entity,
        label_days=given.label_days,
        population=given.population,
        table=given.table,
        classes=given.classes,
        every=given.every,
        owner=given.owner,
        further=further,
        join=given.join,
    )
    _tell(written.files, written.marks, "THINK", "the files of the use case", written.following)
    print(f"\nbacktest: {backtested(given.name)}")
    return 0


def backtested(name: str) -> str:
    """What a backtest of the history says that is stored of a use case, or why there is none yet."""
    from include.core.errors import NocturneError
    from include.lake import delta

    if not delta.exists(
        "gold", f"{name}__features"
    ):  # a new one has no history, and what tests it takes seconds to load
        return f"nothing of {name} is in the lake yet. Once its history is: make backtest use_case={name}"
    from include.ml import backtest

    try:
        return str(backtest.backtest(name))
    except NocturneError as why:
        return f"not yet: {why}"


def _which(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--source", default="")
    which.add_argument("--use-case", default="")


def night_arguments(parser: argparse.ArgumentParser) -> None:
    _which(parser)
    parser.add_argument(
        "--partition", type=partition, required=True, help="2024-05-01, or a range as 2024-05-01..2024-05-07"
    )


def night(given: argparse.Namespace) -> int:
    """0 where all stages are through, 1 where one failed. Raises ScaffoldError."""
    from include.scaffold import night

    return night.run(given.partition, given.source, given.use_case)


def remove_arguments(parser: argparse.ArgumentParser) -> None:
    _which(parser)
    flag(parser, "--yes", "drop it; else it is only said")


def remove(given: argparse.Namespace) -> int:
    """Say what is left of a source or a use case, and drop it where told to. Raises ScaffoldError."""
    from include.scaffold import remove

    name, home = given.use_case or given.source, settings().home
    left = remove.of_use_case(home, name) if given.use_case else remove.of_source(home, name)
    if left.is_nothing:
        print(f"there is nothing of {name}")
        return 0
    for line in remove.tell(left):
        print(line)
    if not given.yes:
        print("nothing was dropped; yes=1 drops tables, models and history, once the files are gone")
        return 0
    for line in remove.drop(left):
        print(f"dropped: {line}")
    return 0


def _tell(files: list[str], marks: list[str], word: str, where: str, following: list[str]) -> None:
    print(f"{len(files)} files:")
    for path in files:
        print(f"  {path}")
    print(f"\n{len(marks)} times {word}, to be confirmed or mended in {where}:")
    for number, mark in enumerate(marks, start=1):
        print(f"  {number}. {mark}")
    print("\nnext:")
    for line in following:
        print(f"  {line}")
