"""What a macro of dbt writes, without dbt: for tests that ask an engine about it."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment

MACROS = Path(__file__).resolve().parents[2] / "dbt_project" / "macros"


class RefusedError(Exception):
    """What a macro told dbt to stop with."""


class _Exceptions:
    def raise_compiler_error(self, why: str) -> None:
        raise RefusedError(why)


def written(macro: str, *given: Any, nights: tuple[date, date] | None = None, **named: Any) -> str:
    """The SQL of a call of ``macro``, from the file of that name; ``nights`` are the first and the last of the run."""

    def night(which: str, shift: int = 0) -> str:
        assert nights, "this macro asks for nights"
        return f"date'{nights[which == 'to'] + timedelta(shift)}'"

    context = {"night": night, "execute": True, "exceptions": _Exceptions()}
    template = Environment(extensions=["jinja2.ext.do"]).from_string((MACROS / f"{macro}.sql").read_text(), context)
    return str(getattr(template.module, macro)(*given, **named))
