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
    source.add_argument("--key", type=_list, default=(), help="columns in which no two rows of a day are equal")
    source.add_argument("--columns", type=_list, default=(), help="the names of the columns of a file without a header")
    source.add_argument("--rename", action="store_true", help="give columns with a taken name another one")
    return parser


def main(argv: list[str] | None = None) -> int:
    """0 where all is done, 1 where a stage of a night failed, 2 for a request that cannot be followed."""
    given = _parser().parse_args(argv)
    try:
        return _source(given)
    except ScaffoldError as error:
        print(f"{given.command}: {error}", file=sys.stderr)
        return 2


def _source(given: argparse.Namespace) -> int:
    from include.scaffold import source

    written = source.make(
        settings().home,
        given.name,
        UPath(given.place).absolute(),
        owner=given.owner,
        day=given.day,
        key=given.key,
        names=given.columns,
        rename=given.rename,
    )
    _tell(written.files, written.marks, "GUESS", f"include/sources/{given.name}/spec.py", written.following)
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
