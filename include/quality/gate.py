"""A gate: a Great Expectations suite that a candidate must pass before it is published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from include.core.errors import NeedsAttentionError
from include.core.settings import settings
from include.quality import measuring

if TYPE_CHECKING:
    import polars as pl
    from great_expectations.expectations import Expectation

# What of a failed expectation's result tells people what was found.
TOLD = ("observed_value", "unexpected_count", "unexpected_percent", "partial_unexpected_list")


class GateFailedError(NeedsAttentionError):
    """A candidate did not pass; the message lists each expectation with what was found. Nothing was published."""


class GateUncheckedError(Exception):
    """Nothing was found wrong, and not everything could be looked at. Another try may do it."""


def describe(result: Any) -> str:
    """One failed expectation in a line: which column, what was expected, what was found."""
    config = result.expectation_config
    kwargs = {k: v for k, v in config.kwargs.items() if k not in ("batch_id", "column") and v not in (None, [])}
    expected = ", ".join(f"{key} {value}" for key, value in kwargs.items())
    if error := _exception(result):
        found = f"could not be checked: {error.splitlines()[0]}"
    else:
        told = {key: result.result.get(key) for key in TOLD}
        found = json.dumps(
            {key: value for key, value in told.items() if np.size(value) and value is not None}, default=str
        )
    column = config.kwargs.get("column")
    return f"{column + ': ' if column else ''}{config.type} ({expected}) found {found}"


def _exception(result: Any) -> str | None:
    """What kept an expectation from being checked; None where it was."""
    info = result.exception_info or {}
    found = [info] if "raised_exception" in info else list(info.values())
    return next((one["exception_message"] for one in found if one.get("raised_exception")), None)


def check(
    name: str,
    key: str,
    rows: pl.LazyFrame,
    expectations: Sequence[Expectation],
    said: Mapping[str, str] | None = None,
    to_do: str = "",
) -> None:
    """Validate ``rows`` and keep the result as ``var/report/gates/<name>/<key>.json``.

    ``said`` is, by column, what is said of one that failed, where that says more than the expectation does; ``to_do``
    ends the message.

    Raises GateFailedError naming everything that failed, or GateUncheckedError where all that did is that something
    could not be checked.
    """
    results = measuring.results(rows, expectations)
    failed = [one for one in results if not one.success]
    told = {"success": not failed, "results": [one.to_json_dict() for one in results]}
    keep(settings().report / "gates" / name / f"{key}.json", told)
    if failed:
        unchecked = all(_exception(one) for one in failed)
        what = "could not be checked" if unchecked else "failed"
        lines = "".join(f"\n- {_said(one, said or {}) or describe(one)}" for one in failed)
        raise (GateUncheckedError if unchecked else GateFailedError)(
            f"{name} {key}: {len(failed)} of {len(results)} expectations {what}; nothing was published.{lines}{to_do}"
        )


def _said(result: Any, said: Mapping[str, str]) -> str | None:
    return None if _exception(result) else said.get(result.expectation_config.kwargs.get("column", ""))


def keep(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` as JSON, replacing what an earlier run of the same key left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, default=str))
