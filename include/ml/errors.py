"""What libraries say that no retry can mend, in words of ours: what was asked, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import xgboost as xgb

from include.core.errors import NeedsAttentionError

PASSING = (408, 409, 429)
"""HTTP's answers below 500 that may be another one soon: too slow, in the way of another request, too many of them."""


class RegistryRefusedError(NeedsAttentionError):
    """MLflow understood what it was asked and says no; it would say so again."""


class ModelRefusedError(NeedsAttentionError):
    """XGBoost cannot train or score what it was given, or with the parameters it was given."""


@contextmanager
def of_mlflow(asked: str) -> Iterator[None]:
    """Raise RegistryRefusedError where MLflow's answer is final (HTTP 4xx); whatever may pass is raised as it is."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        status = error.get_http_status_code()
        if status >= 500 or status in PASSING:
            raise
        raise RegistryRefusedError(
            f"MLflow refuses {asked} ({error.error_code}): {_first_line(error)} Look at it in MLflow's page; what is "
            "deleted there can be restored there, and who may do what is set there too"
        ) from error


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


def _first_line(error: Exception) -> str:
    """What a library says, without the place in its source and the stack that XGBoost puts around it."""
    line = str(error).strip().partition("\n")[0]
    return re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", line) or type(error).__name__
