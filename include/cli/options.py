"""Kinds of options that several commands take. What is no such thing is refused before anything is done."""

from __future__ import annotations

import argparse
from datetime import date

from include.core.partitions import BadPartitionError, Partitions, require_past

YES, NO = ("1", "yes", "true"), ("0", "no", "false", "")


def flag(parser: argparse.ArgumentParser, name: str, help: str) -> None:  # noqa: A002  # as argparse calls it
    """An option that is yes or no: ``--json``, or ``--json=1`` as make has it."""
    parser.add_argument(name, nargs="?", const=True, default=False, type=_is_yes, metavar="yes|no", help=help)


def _is_yes(text: str) -> bool:
    if text.lower() not in (*YES, *NO):
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text.lower() in YES


def names(text: str) -> tuple[str, ...]:
    """``a,b c``: names, or values, which may have blanks in them."""
    return tuple(one.strip() for one in text.split(",") if one.strip())


def partition(text: str) -> Partitions:
    """A day that is over, ``2013-06-01``, or a range of such, ``2013-06-01..2013-06-07``."""
    try:
        found = Partitions.parse(text)
        require_past(found)
    except BadPartitionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return found


def day(text: str) -> date:
    """A day, ``2013-06-01``."""
    try:
        found = Partitions.parse(text)
    except BadPartitionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if found.first != found.last:
        raise argparse.ArgumentTypeError(f"{text} are several days, and one is wanted, as {found.first}")
    return found.first
