"""Every file of the corpus, with the dialect that its feed declares, is published with the right values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from include.sources import landing
from tests.sources.corpus import CASES, DAY, Case
from tests.sources.judged import judged


def put(home: Path, case: Case) -> Path:
    path = home / "landing" / "toys" / case.feed.name / f"{DAY}.{case.feed.extension}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case.content)
    return path


def read(home: Path, case: Case) -> tuple[int, list[tuple[Any, ...]], int]:
    """The rows that are counted, the sound ones, and how many are in quarantine."""
    path, feed = put(home, case), case.feed
    file = landing.look_through(path, feed)
    found = judged(feed, path, there=file["columns"])
    sound = found.filter(found["_reason"].is_null() & ~found["_copy"])
    broken = found.filter(found["_reason"].is_not_null() & ~found["_copy"])
    names = [column.name for column in feed.columns]
    return file["rows"], sorted(sound.select(names).rows(), key=str), broken.height


@pytest.mark.parametrize("name", CASES)
def test_a_file_in_its_dialect_has_the_right_values(name: str, home: Path) -> None:
    case = CASES[name]()
    counted, sound, broken = read(home, case)
    assert sound == sorted(case.rows, key=str)
    assert (broken, counted) == (case.quarantined, len(case.rows) + case.quarantined)
