"""What ``make features`` prints."""

from types import SimpleNamespace
from typing import Any

import pytest

from include.cli import features as command
from include.features.catalogue import Catalogue, Entry
from tests.ml.conftest import toy_case

CASE = toy_case()
SHOWN = Catalogue(
    case=CASE,
    meaning="coins",
    columns={},
    freshness_hours=8,
    rules={"scales": "what the scales said"},
    entries=tuple(Entry(one, one.name, "double", "gram", "scales", 7) for one in CASE.features),
)


def reference(**weights: float) -> dict[str, Any]:
    return {"features": {name: {"weight": weight, "shares": [0.75, 0.25]} for name, weight in weights.items()}}


CHAMPION: Any = SimpleNamespace(model_version=3)


def test_what_the_champion_gains_most_by_comes_first() -> None:
    references = {1: reference(weight=1, colour=0), 3: reference(weight=0.25, metal=0.75), 2: reference(weight=1)}
    assert command.rows(SHOWN, references, CHAMPION, {"weight": (0.301, 0.2, False)}) == [
        ("metal", "gram", "scales", "7 days", "75.0%", "25.0%", "", "", "3"),
        ("weight", "gram", "scales", "7 days", "25.0%", "25.0%", "0.30", "0.2", "1-3"),
        ("noise", "gram", "scales", "7 days", "", "", "", "", ""),
        ("colour", "not in the spec any more", "", "", "", "", "", "", "1"),
    ]


def test_without_a_version_the_catalogue_is_shown() -> None:
    assert [row[0] for row in command.rows(SHOWN, {}, None, {})] == ["weight", "metal", "noise"]


@pytest.mark.parametrize(("numbers", "words"), [([], ""), ([2], "2"), ([3, 1, 2], "1-3"), ([1, 3, 4, 9], "1, 3-4, 9")])
def test_versions_are_said_in_spans(numbers: list[int], words: str) -> None:
    assert command.spans(numbers) == words
