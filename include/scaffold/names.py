"""Which names a source, a use case and a column can have: each is a word of Python, of SQL, and of nobody else."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

from include.contracts.source import BOOKKEEPING
from include.scaffold.errors import ScaffoldError

# Reserved by standard SQL, so that a bare column of this name means something else or does not parse.
SQL = frozenset(
    re.findall(
        r"\w+",
        """
        all alter and anti any array as at authorization between both by case cast check collate column constraint
        create cross current_date current_time current_timestamp current_user delete desc describe distinct drop else
        end escape except exists false fetch filter for foreign from full grant group having in inner insert intersect
        interval into is join lateral leading left like limit minus natural not null offset on only or order outer
        overlaps primary references right select semi session_user set some table then time to trailing true union
        unique unknown update user using values when where with
        """,
    )
)
# What the tables of the platform add to those of a case.
OURS = frozenset(
    {
        *BOOKKEEPING,
        *("known_from", "score", "predicted", "model_version", "features_content", "scored_by", "decision", "reasons"),
    }
)
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


MOST_LETTERS = 60
"""Of a name: files, tables and DAGs are called by several of them, with words between, in at most 250."""


def check_name(kind: str, name: str) -> None:
    """Raise ScaffoldError unless ``name`` can be that of a package, a folder, a DAG and a part of tables' names."""
    if not _NAME.fullmatch(name):
        raise ScaffoldError(f"{kind} {name!r}: a name is small letters, digits and single _, a letter first")
    if len(name) > MOST_LETTERS:
        raise ScaffoldError(f"{kind} {name[:20]}…: a name has at most {MOST_LETTERS} letters, not {len(name)}")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise ScaffoldError(f"{kind} {name!r}: that is a word of Python; take another name")


def why_reserved(name: str) -> str:
    """Whose word ``name`` is already, so that no column can have it; empty where it is free."""
    word = name.casefold()
    if word in OURS:
        return "the platform adds a column of that name"
    if word in SQL:
        return "a word of SQL"
    if keyword.iskeyword(word):
        return "a word of Python"
    return ""


def free_name(name: str, taken: Iterable[str]) -> str:
    """``name``, or what it can be called where it is reserved or ``taken``."""
    others = {one.casefold() for one in taken}
    word = f"column_{name}" if why_reserved(name) else name
    found, n = word, 2
    while found.casefold() in others:
        found, n = f"{word}_{n}", n + 1
    return found


def words(name: str) -> str:
    """``name`` as words: ``temp_c`` is "temp c"."""
    return name.replace("_", " ").strip()
