"""Labels by persons: which rows are asked for, and what was answered.

What each needs is imported when it runs: a slip in an option is told before the seconds of Polars.
"""

from __future__ import annotations

import argparse
import getpass
from datetime import UTC, date, datetime
from pathlib import Path

from include.cli.options import day, flag
from include.core.settings import settings
from include.use_cases import use_case


def label_requests_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--from", dest="first", type=day, default=date.min, help="first event date (all)")
    parser.add_argument("--to", dest="last", type=day, default=date.max, help="last event date, included (all)")
    parser.add_argument("--budget", type=int, default=100, help="at most so many rows (100)")
    parser.add_argument("--out", type=Path, help="the file (var/report/<use case>-to-label.csv)")


def label_requests(given: argparse.Namespace) -> int:
    """0 where a file was written. Raises NoChampionError, BadRequestError."""
    from include.ml import requests

    case = use_case(given.use_case)
    out = given.out or settings().var / "report" / f"{case.name}-to-label.csv"
    number, file = requests.ask(case, given.first, given.last, given.budget, out, getpass.getuser())
    print(f"request {number}: {requests.told(case, file)}")
    print(f"{out}: fill in {case.label}, then make labels use_case={case.name} file={out}")
    return 0


def labels_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--file", type=Path, required=True, help="a CSV with the key and the label")
    parser.add_argument("--partition", type=day, help="the night from which the labels are known (today)")
    flag(parser, "--correct", "an answer that is other than before takes its place")


def labels(given: argparse.Namespace) -> int:
    """0 where all of the file was taken. Raises UnfitAnswersError and BadRequestError, where nothing was."""
    from include.ml import answers

    case, night = use_case(given.use_case), given.partition or datetime.now(UTC).date()
    rows = answers.of_csv(given.file)
    found = answers.take(str(given.file), case, rows, night, getpass.getuser(), correct=given.correct)
    print(
        f"{found['new']} labels are new, {found['corrected']} corrected, {found['before']} were there before, "
        f"{found['empty']} lines have none. Known from {night}"
    )
    if found["wins"]:
        print(f"{found['wins']} of the rows have a label of their own by now, which counts instead")
    return 0
