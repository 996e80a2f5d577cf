"""Build a partition on both engines from the same published tables, and compare each value."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from include.cli.options import partition
from include.core.errors import NeedsAttentionError
from include.core.settings import settings
from include.use_cases import use_case


def compare_engines_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--partition", type=partition, required=True)


def compare_engines(given: argparse.Namespace) -> int:
    """0 where every value is equal, 1 where one differs. Raises InstallationError, and where there is nothing there."""
    from include.local.compare_engines import compare

    case = use_case(given.use_case)
    with tempfile.TemporaryDirectory(prefix="nocturne-") as var:
        found = compare(settings(), case, given.partition, Path(var))
    if not any(rows for rows, _ in found.values()):
        raise NeedsAttentionError(f"nothing of {given.partition} is published, so that nothing was compared")
    for table, (rows, differing) in sorted(found.items()):
        print(f"{table:40} {rows:>9} rows  {'; '.join(differing) or 'equal'}")
    return 1 if any(differing for _, differing in found.values()) else 0
