"""What can be predicted: a binary label, one of several classes, a number. One file each behind one interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from include.contracts.use_case import Binary, Multiclass, UseCase
from include.core.errors import NeedsAttentionError
from include.ml.tasks.binary import BinaryTask
from include.ml.tasks.interface import Compared, Task, UnfitLabelError, UnfitOutputError, Watched
from include.ml.tasks.multiclass import MulticlassTask
from include.ml.tasks.regression import RegressionTask

__all__ = [
    "Compared",
    "OtherTaskError",
    "Task",
    "UnfitLabelError",
    "UnfitOutputError",
    "Watched",
    "of",
    "of_version",
    "since",
]


class OtherTaskError(NeedsAttentionError):
    """A version was trained for another kind of task than the spec of its use case has today."""


def of(case: UseCase) -> Task:
    """The task of a use case, as its spec says today."""
    task = case.task
    if isinstance(task, Binary):
        return BinaryTask(case, task)
    return MulticlassTask(case, task) if isinstance(task, Multiclass) else RegressionTask(case, task)


def of_version(case: UseCase, recipe: Mapping[str, Any]) -> Task:
    """The task that a version was trained for: its own classes or quantiles, with the limits of today.

    Raises OtherTaskError where the spec has another kind of task today.
    """
    today, told = of(case), dict(recipe)
    if told.pop("kind") != today.kind:
        raise OtherTaskError(
            f"{case.name} is a {today.kind} task in its spec, and its champion was trained for a {recipe['kind']} one: "
            "another question is another use case. Put the task back, and give the new one a name of its own"
        )
    own: dict[str, Any] = {name: tuple(values) for name, values in told.items()}
    if isinstance(case.task, Multiclass):
        own["class_weights"] = ()  # those of today are of the classes of today, and of a fit alone
    return of(replace(case, task=replace(case.task, **own))) if own else today


def since(version: Task, today: Task) -> Task:
    """The task to judge a version's predictions by: its own, and of classes, those that the spec has had since.

    To a class that it does not know, a version gives the probability 0.
    """
    if not (isinstance(version, MulticlassTask) and isinstance(today, MulticlassTask)):
        return version
    new = tuple(one for one in today.classes if one not in version.classes)
    return replace(version, limits=replace(version.limits, classes=(*version.classes, *new))) if new else version
