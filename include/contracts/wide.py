"""Tables with a column per sensor, hour or month, whose cells become rows: what the spec says, and what the file has.

``reading`` turns the cells into rows, ``counting`` counts them, each by its own code; both read the file as the table
that it is, of which ``table_of`` is the feed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.contracts.source import Column, Feed

CELL = "wide_cell_"
"""What the columns of cells are called in the feed of the table, with a number after it."""


@dataclass(frozen=True)
class Wide:
    """Each cell of ``columns`` is a row, beside the other columns: ``into`` has its column's name, ``value`` its value.

    ``columns`` are their names in the file, or a pattern that all of such a name fits: then a new one needs no edit.
    Where the pattern has a group, ``into`` has what the group has. Raises ValueError for what is no pattern, or names
    no column.
    """

    into: str
    value: str
    columns: str | tuple[str, ...]
    keep_empty: bool = False  # an empty cell is a row without a value; else it is no reading, and no row
    # Of files whose columns have no names: where the first one of ``columns`` is, and of fixed width how wide each is.
    place: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("wide: which columns of the file become rows? Their names, or a pattern")
        if isinstance(self.columns, str):
            try:
                re.compile(self.columns)
            except re.error as error:
                raise ValueError(f"wide: {self.columns!r} is no pattern: {error}") from None
        elif len(set(self.columns)) < len(self.columns):
            raise ValueError("wide: a column of the file is named twice")
        if self.place and isinstance(self.columns, str):
            raise ValueError("wide: columns without names have no pattern: say what each is called, in their order")

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that the spec names; none where it has a pattern."""
        return () if isinstance(self.columns, str) else self.columns

    def has(self, name: str) -> bool:
        """Whether the column of the file that is called ``name`` becomes rows."""
        return bool(re.fullmatch(self.columns, name)) if isinstance(self.columns, str) else name in self.columns

    def name_of(self, column: str) -> str:
        """What ``into`` has for ``column`` of the file."""
        found = re.fullmatch(self.columns, column) if isinstance(self.columns, str) else None
        return found[1] if found and found.re.groups and found[1] is not None else column


def _wide_of(feed: Feed) -> Wide:
    if feed.wide is None:
        raise ValueError(f"feed {feed.name} has no wide columns")
    return feed.wide


def check(feed: Feed) -> None:
    """Raise ValueError where the wide columns of ``feed`` cannot be."""
    wide = _wide_of(feed)
    columns = {column.name: column for column in feed.columns}
    for role, name in (("into", wide.into), ("value", wide.value)):
        if name not in columns:
            raise ValueError(f"feed {feed.name}: wide: {role} {name!r} is no column of the feed")
        if columns[name].source_name or columns[name].place or columns[name].width:
            raise ValueError(
                f"feed {feed.name}: wide: {name} is made of the cells, and is nowhere in the file by itself"
            )
    if wide.into == wide.value:
        raise ValueError(f"feed {feed.name}: wide: a column's name and its cell's value are two columns")
    if str(feed.format) == "log":
        raise ValueError(f"feed {feed.name}: wide: the lines of a log have no columns")
    has_names = str(feed.format) != "txt" and not feed.by_place
    if has_names == bool(wide.place):
        raise ValueError(
            f"feed {feed.name}: wide: its columns are known by their {'names' if has_names else 'place: say it'}"
        )
    if str(feed.format) not in ("csv", "txt") and any(re.fullmatch(r"[-+.0-9]+", one) for one in feed.dialect.nulls):
        raise ValueError(f"feed {feed.name}: wide: in {feed.format} a number that stands for nothing is a number")
    table_of(feed, wide.named)


def table_of(feed: Feed, names: Sequence[str]) -> Feed:
    """The feed of the table in the file, in which the columns ``names`` become rows.

    They are its last ones, and called ``CELL`` with a number. Its own ``wide`` says only which further ones may come.
    """
    wide = _wide_of(feed)
    value = next(column for column in feed.columns if column.name == wide.value)
    others = [column for column in feed.columns if column.name not in (wide.into, wide.value)]

    def cell(n: int, name: str) -> Column:
        place = wide.place and wide.place + n * (wide.width or 1)
        return replace(value, name=f"{CELL}{n}", source_name=name, place=place, width=wide.width, required=False)

    cells = [cell(n, name) for n, name in enumerate(names)]
    return replace(feed, columns=(*others, *cells), wide=replace(wide, into="", value=""))


def cells_of(table: Feed) -> list[Column]:
    """The columns of ``table`` whose cells become rows."""
    return [column for column in table.columns if column.name.startswith(CELL)]
