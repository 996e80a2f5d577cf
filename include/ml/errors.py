"""What libraries say that no retry can mend, in words of ours: what was asked, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import xgboost as xgb

from include.core.errors import NeedsAttentionError, NocturneError

PASSING = (408, 409, 429)
"""HTTP's answers below 500 that may be another one soon: too slow, in the way of another request, too many of them."""


class RegistryRefusedError(NeedsAttentionError):
    """MLflow understood what it was asked and says no; it would say so again."""


class RegistryAwayError(NocturneError):
    """MLflow was not reached, was too slow, or broke off. Another try may find it well."""


class ModelRefusedError(NeedsAttentionError):
    """XGBoost cannot train or score what it was given, or with the parameters it was given."""


@contextmanager
def of_mlflow(asked: str) -> Iterator[None]:
    """Raise RegistryRefusedError where MLflow's answer is final (HTTP 4xx), and RegistryAwayError where it may pass.

    Files go to and fro by ``requests``, whose errors MLflow's client does not always make its own.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        yield
    except (MlflowException, RequestException) as error:
        status = _status(error)
        if status >= 500 or status in PASSING:
            raise RegistryAwayError(
                f"MLflow was asked {asked}, and does not do it: {_cause(error)}. Another try may find it well; "
                "`make status` says whether it runs"
            ) from error
        named = f" ({error.error_code})" if isinstance(error, MlflowException) else ""
        raise RegistryRefusedError(
            f"MLflow refuses {asked}{named}: {_first_line(error)} Look at it in MLflow's page; what is "
            "deleted there can be restored there, and who may do what is set there too"
        ) from error


def _status(error: Exception) -> int:
    """HTTP's status of what MLflow's client or ``requests`` raise; 503 where there was no answer."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return int(error.get_http_status_code())
    response = getattr(error, "response", None)
    return 503 if response is None else int(response.status_code)


@contextmanager
def of_xgboost(asked: str) -> Iterator[None]:
    """Raise ModelRefusedError where XGBoost refuses. That memory or a device ran out may pass: that is raised as is."""
    try:
        yield
    except (xgb.core.XGBoostError, ValueError) as error:
        said = _first_line(error)
        if re.search("memory|alloc|cuda|nccl", said, re.IGNORECASE):
            raise
        raise ModelRefusedError(f"XGBoost refuses {asked}: {said}") from error


def _cause(error: Exception) -> str:
    """What was asked of which address and why there was no answer, without the libraries' wrapping."""
    line = _first_line(error)
    where = re.search(r"API request to ([^\s?]+)\S* failed", line)
    why = re.search(r"\(Caused by \w+\([\"'](.+?)[\"']\)\)", line) or re.search(r"failed with exception (.+)", line)
    return f"{where[1]}: {why[1]}" if where and why else line


def _first_line(error: Exception) -> str:
    """What a library says, without the place in its source and the stack that XGBoost puts around it."""
    line = str(error).strip().partition("\n")[0]
    return re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", line) or type(error).__name__
