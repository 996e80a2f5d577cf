"""The templates, and the numbered marks of what a person has to confirm.

Templates are written with ``[[ value ]]`` and ``[% block %]``: Jinja's own braces belong to dbt.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"
WIDTH = 116  # of a line of the project, less what a template may put behind it


@dataclass
class Marks:
    """Numbers what was guessed (``GUESS``) or has to be decided (``THINK``), in the order in which it is rendered."""

    word: str
    said: list[str] = field(default_factory=list)

    def __call__(self, text: str, comment: str = "#", indent: int = 0) -> str:
        """``text`` as a comment with the next number, whose lines after the first are indented by ``indent`` blanks."""
        self.said.append(text)
        lines = textwrap.wrap(f"{self.word} {len(self.said)}: {text}", WIDTH - indent - len(comment))
        return f"\n{' ' * indent}".join(f"{comment} {line}".strip() for line in lines)


@cache
def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # what comes of it is Python and SQL, and no page
    )
    found.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)
    found.filters["python"] = repr
    found.filters["in_lines"] = in_lines
    found.filters["comment"] = lambda text: "\n".join(f"-- {line}" for line in textwrap.wrap(text, WIDTH))
    return found


def in_lines(value: Sequence[str] | Mapping[str, str], width: int = 90) -> str:
    """A list or a mapping of texts as Jinja and Python write it, with a line for each where one is too short."""
    if len(repr(value)) <= width:
        return repr(value)
    pairs = [f"{key!r}: {one!r}" for key, one in value.items()] if isinstance(value, Mapping) else map(repr, value)
    begin, end = ("{", "}") if isinstance(value, Mapping) else ("[", "]")
    return "\n".join([begin, *(f"    {pair}," for pair in pairs), end])


def render(template: str, **values: Any) -> str:
    """The template at this path below ``templates``, filled. Raises UndefinedError for a value that is not given."""
    return _templates().get_template(template).render(**values)
