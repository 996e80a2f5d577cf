"""``make source-check``: how a file is written, as a spec that can be pasted, and what would become of its rows."""

from __future__ import annotations

import argparse
import sys

from upath import UPath

from include.ingestion.files import UnreadableFileError
from include.ingestion.proposing import UnknownFileError, as_text, propose


def main() -> int:
    """Exit code 0 where a spec is proposed, 1 where none can be, 2 for a request without sense."""
    parser = argparse.ArgumentParser(prog="make source-check", description=__doc__)
    parser.add_argument("file", help="a file as its upstream writes it")
    parser.add_argument("--name", default="", help="of the feed; else by the file's name")
    given = parser.parse_args()
    path = UPath(given.file).expanduser().absolute()
    if not path.exists():
        parser.error(f"{given.file} is not there")
    try:
        found = propose(path, given.name)
    except (UnknownFileError, UnreadableFileError) as error:
        print(error, file=sys.stderr)
        return 1
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


if __name__ == "__main__":
    sys.exit(main())
