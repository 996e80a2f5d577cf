"""``python -m include.scaffold source|use-case|night|remove``: what ``make`` calls."""

from __future__ import annotations

import argparse
import sys

from upath import UPath

from include.core.settings import settings
from include.scaffold.errors import ScaffoldError


def _list(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.split(",") if one.strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    source = commands.add_parser("source", help="a source from a sample of its files")
    source.add_argument("--name", required=True)
    source.add_argument("--from", dest="place", required=True, help="a file, or a folder with the files of a day")
    source.add_argument("--owner", default="data-platform")
    source.add_argument("--day", default="", help="the column with a row's event date, or file")
    source.add_argument(
        "--key", type=_list, default=(), help="columns in which no two rows of a day are equal, or none"
    )
    source.add_argument("--columns", type=_list, default=(), help="the names of the columns of a file without a header")
    source.add_argument("--rename", action="store_true", help="give columns with a taken name another one")
    case = commands.add_parser("use-case", help="a use case on a source")
    for name in ("name", "source", "task", "label"):
        case.add_argument(f"--{name}", required=True)
    case.add_argument("--entity", type=_list, required=True, help="the columns that name one thing to predict")
    case.add_argument("--label-days", type=int, default=0, help="days from the event date until its label is known")
    case.add_argument("--population", default="", help="a condition on rows, or a core model of the source")
    case.add_argument("--table", default="", help="the core model, where several have the columns of the entity")
    case.add_argument("--classes", type=_list, default=())
    case.add_argument("--every", default="day", help="day, week or month")
    case.add_argument("--owner", default="data-science")
    night = commands.add_parser("night", help="one partition through all its stages on this machine")
    remove = commands.add_parser("remove", help="what a source or a use case leaves behind")
    for one in (night, remove):
        which = one.add_mutually_exclusive_group(required=True)
        which.add_argument("--source", default="")
        which.add_argument("--use-case", default="")
    night.add_argument("--partition", required=True, help="2024-05-01, or a range as 2024-05-01..2024-05-07")
    remove.add_argument("--yes", action="store_true", help="drop it; else it is only said")
    return parser


def main(argv: list[str] | None = None) -> int:
    """0 where all is done, 1 where a stage of a night failed, 2 for a request that cannot be followed."""
    given = _parser().parse_args(argv)
    try:
        run = {"source": _source, "use-case": _use_case, "night": _night, "remove": _remove}[given.command]
        return run(given)
    except ScaffoldError as error:
        print(f"{given.command}: {error}", file=sys.stderr)
        return 2


def _source(given: argparse.Namespace) -> int:
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
    )
    _tell(written.files, written.marks, "GUESS", f"include/sources/{given.name}/spec.py", written.following)
    return 0


def _use_case(given: argparse.Namespace) -> int:
    from include.scaffold import use_case

    written = use_case.make(
        settings().home,
        given.name,
        source=given.source,
        task=given.task,
        label=given.label,
        entity=given.entity,
        label_days=given.label_days,
        population=given.population,
        table=given.table,
        classes=given.classes,
        every=given.every,
        owner=given.owner,
    )
    _tell(written.files, written.marks, "THINK", "the files of the use case", written.following)
    return 0


def _night(given: argparse.Namespace) -> int:
    from include.scaffold import night

    return night.run(given.partition, given.source, given.use_case)


def _remove(given: argparse.Namespace) -> int:
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


if __name__ == "__main__":
    sys.exit(main())
