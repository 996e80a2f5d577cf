"""What is said of columns that a file lacks, or has beside those of its feed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

MOST_ADDED = 20  # columns: with more than that it is another feed's file
LONGEST_NAME = 200  # letters of an added column's name: with more it is a row, or what a quote has swallowed
MOST_NAMED = 5  # columns that a message lists before it only counts them


def too_strange(new: Collection[str]) -> bool:
    """Whether columns that nobody promised are no mere addition."""
    return len(new) > MOST_ADDED or any(len(name) > LONGEST_NAME for name in new)


def named(gone: Collection[str], new: Sequence[str], promised: Collection[str]) -> str:
    """Which columns are missing and which are unknown, in words; of many the first few. Empty where none are.

    Where none of ``promised`` is there it is another file, and what is in it is not shown.
    """
    if len(gone) == len(promised):
        return "none of its columns is there. Is it another feed's file, or has it no header?"
    words = [f"column {name} is missing" for name in [*gone][:MOST_NAMED]]
    words += [f"column {name[:80]!r} is unknown" for name in new[:MOST_NAMED]]
    more = len(gone) + len(new) - len(words)
    return ", ".join([*words, *([f"and {more} more"] if more else [])])


def other(name: str, promised: Collection[str]) -> str:
    """How a column of the file that is none of the feed's is called, such that it is not taken for one of them."""
    return f"{name} (of the file)" if name in promised else name
