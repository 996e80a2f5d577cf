"""The assets that join the DAGs, in the order of the data's path. DAG files name assets by these functions only."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from airflow.sdk import Asset

from include.core.partitions import ANNOUNCED, Partitions


def bronze(source: str) -> Asset:
    """Every row of a night's files, typed, under its contract."""
    return Asset(name=f"bronze.{source}", uri=f"nocturne://bronze/{source}", group="lakehouse")


def silver(source: str) -> Asset:
    """The facts and dimensions of a source."""
    return Asset(name=f"silver.{source}", uri=f"nocturne://silver/{source}", group="lakehouse")


def inputs(use_case: str) -> Asset:
    """What a use case of several sources reads: all of them are silver, or closed on that day."""
    return Asset(name=f"silver.{use_case}.inputs", uri=f"nocturne://silver/{use_case}/inputs", group=use_case)


def features(use_case: str) -> Asset:
    """The features of the days to predict, and the labels of the days that have ended."""
    return Asset(name=f"gold.{use_case}.features", uri=f"nocturne://gold/{use_case}/features", group=use_case)


def predictions(use_case: str) -> Asset:
    return Asset(name=f"gold.{use_case}.predictions", uri=f"nocturne://gold/{use_case}/predictions", group=use_case)


def retrain_request(use_case: str) -> Asset:
    """A night on which the policy decided that the champion is to be challenged."""
    return Asset(name=f"{use_case}.retrain_request", uri=f"nocturne://{use_case}/retrain_request", group=use_case)


def approval_request(use_case: str) -> Asset:
    """A night in which the gates let a version through that persons have to approve."""
    return Asset(name=f"{use_case}.approval_request", uri=f"nocturne://{use_case}/approval_request", group=use_case)


def champion(use_case: str) -> Asset:
    """A model version that became champion."""
    return Asset(name=f"{use_case}.champion", uri=f"nocturne://{use_case}/champion", group=use_case)


def announce(
    context: Mapping[str, Any], asset: Asset, nights: Partitions, also: Iterable[date] = (), **extra: Any
) -> None:
    """Have the running task's event of ``asset`` carry the key of ``nights``, whichever way the run was given it.

    ``also`` are other nights of which something changed: each is announced by itself, and left as an XCom for those
    who follow runs, since events do not tell which run made them before the runs that they make have started.
    """
    announce_all(context, asset, [nights, *(Partitions(night, night) for night in also)], **extra)


def announce_all(context: Mapping[str, Any], asset: Asset, partitions: Iterable[Partitions], **extra: Any) -> None:
    """Have the running task's event of ``asset`` carry the keys of ``partitions``, each of which becomes a run."""
    event, keys = context["outlet_events"][asset], [one.key for one in partitions]
    event.add_partitions(keys)
    context["ti"].xcom_push(key=ANNOUNCED, value=keys)
    event.extra |= extra
