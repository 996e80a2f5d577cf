"""Ways back: make a backup, check one, put one into an empty installation; and what is old enough to be forgotten.

What each command needs is imported when it runs.
"""

from __future__ import annotations

import argparse
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from include.cli.console import say
from include.cli.options import flag
from include.core.errors import BadRequestError
from include.core.settings import settings

if TYPE_CHECKING:
    from upath import UPath

SHOWN = 10


def _place(given: str) -> UPath:
    """Where backups are: what was given, or the setting."""
    if "://" not in given:
        return settings().place(str(Path(given).expanduser().resolve())) if given else settings().backups
    if not re.match("s3://[^/]", given):
        raise BadRequestError(f"{given!r} is neither a folder nor s3://<bucket>/<prefix>")
    return settings().place(given.rstrip("/"))


def backup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", default="", help="a folder or s3://<bucket>/<prefix>; none: NOCTURNE_BACKUP_URI")
    parser.add_argument("--keep", type=_number, default=settings().backup_keep, help="so many backups stay")
    flag(parser, "--landing", "the files of landing as well")
    flag(parser, "--dry-run", "say what would be done, and do nothing")
    flag(parser, "--take", "go on with the backups of another installation, which is no more")


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def backup(given: argparse.Namespace) -> int:
    """Make a backup, or say what would be done."""
    from include.local.backup import making

    begun, to = time.monotonic(), _place(given.to)
    request = making.Request(to, given.landing, given.keep, given.take)
    if given.dry_run:
        print("\n".join(making.plan(settings(), request)))
        return 0
    made = making.back_up(settings(), request, say)
    print(
        f"backup {made.id} at {to}: {len(made.tables)} tables, {len(made.files)} files, {made.bytes / 1e6:.1f} MB, as "
        f"all was at {made.at} ({time.monotonic() - begun:.1f} s)"
    )
    return 0


def backup_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="place", default="", help="where backups are; none: NOCTURNE_BACKUP_URI")
    parser.add_argument("--backup", default="", help="which one, as 20261127T170312; none: the newest")


def backup_check(given: argparse.Namespace) -> int:
    """0 where all of a backup is there, 1 where something is not."""
    from include.local.backup import making, manifest

    begun, place = time.monotonic(), _place(given.place)
    made = manifest.read(place, given.backup)
    problems = making.checked(place, made, say)
    for problem in problems[:SHOWN]:
        print(problem)
    word = f"{len(problems)} of {len(made.contents)} contents are not as they were written" if problems else "whole"
    print(f"backup {made.id} at {place}, of {made.at}: {word} ({time.monotonic() - begun:.1f} s)")
    return 1 if problems else 0


def restore_arguments(parser: argparse.ArgumentParser) -> None:
    backup_check_arguments(parser)
    flag(parser, "--yes", "do it")


def restore(given: argparse.Namespace) -> int:
    """Say what would be done; do it where that was said with ``--yes``."""
    from include.local.backup import manifest, restoring

    begun, place = time.monotonic(), _place(given.place)
    made = manifest.read(place, given.backup)
    if not given.yes:
        print("\n".join(restoring.plan(settings(), place, made)))
        print("yes=1 does it")
        return 0
    restoring.restore(settings(), place, made, say)
    print(
        f"the backup {made.id} is restored ({time.monotonic() - begun:.1f} s): `make up` starts the services, "
        "`make verify` looks whether all is whole"
    )
    return 0


def retention_arguments(parser: argparse.ArgumentParser) -> None:
    flag(parser, "--yes", "do it")


def retention(given: argparse.Namespace) -> int:
    """Say what would be forgotten, and forget it with ``--yes``."""
    from include.local import retention

    now = datetime.now(UTC)
    if given.yes:
        retention.forget(settings(), now, say)
        return 0
    found = retention.plan(settings(), now)
    for old in found:
        print(f"would go: {old}")
    print("yes=1 does it" if found else "nothing is old enough to go")
    return 0
