"""How a file is written, as a spec that can be pasted, and what would become of its rows."""

from __future__ import annotations

import argparse

from upath import UPath

from include.core.errors import BadRequestError


def source_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", required=True, help="a file as its upstream writes it")
    parser.add_argument("--name", default="", help="of the feed; else by the file's name")


def source_check(given: argparse.Namespace) -> int:
    """0 where a spec is proposed. Raises UnknownFileError and UnreadableFileError where none can be."""
    from include.ingestion.proposing import as_text, propose

    path = UPath(given.file).expanduser().absolute()  # not every shell does it behind the = of an argument
    if not path.exists():
        raise BadRequestError(f"{given.file} is not there")
    found = propose(path, given.name)
    print(as_text(found))
    broken = found.rows - found.sound
    print(f"\n# With it {found.sound:,} of {found.rows:,} rows would be published and {broken:,} go to the quarantine.")
    for line, reason, raw in found.odd:
        print(f"#   line {line or '?'}: {reason}: {raw[:100]!r}")
    if found.notes:
        print("# Look at this, since nobody can know it from the file:")
        for note in found.notes:
            print(f"#   {note}")
    return 0
