from pathlib import Path

import pytest

from include.contracts.use_case import Feature, buckets
from include.core.settings import settings
from include.features import catalogue
from tests.ml.conftest import toy_case


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        (Feature("a", low=0, high=1, nullable=False), "0 to 1"),
        (Feature("a", low=0.5), "at least 0.5; may be missing"),
        (Feature("a", high=3, nullable=False), "at most 3"),
        (Feature("a"), "any number; may be missing"),
        (Feature("a", min_distinct=3, nullable=False), "any number; at least 3 different ones a night"),
        (
            Feature("a", "categorical", vocabulary=buckets(64)),
            "0, 1, 2 … 63 (64 levels); anything else is `unknown`; may be missing",
        ),
        (Feature("a", "categorical", vocabulary=("x", "y"), nullable=False), "x, y; anything else is `unknown`"),
    ],
)
def test_what_is_expected_is_said_in_words(feature: Feature, words: str) -> None:
    assert catalogue.expected(feature) == words


def test_what_dbt_does_not_say_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTURNE_HOME", str(home))
    settings.cache_clear()
    with pytest.raises(
        catalogue.BlankError, match=r"no dbt model toy__features is described in .*marts/use_cases/toy/\*\.yml"
    ):
        catalogue.read(toy_case())
    folder = home / "dbt_project" / "models" / "marts" / "use_cases" / "toy"
    folder.mkdir(parents=True)
    (folder / "toy.yml").write_text("models: [{name: toy__features, description: coins}, {name: toy__labels}]")
    with pytest.raises(
        catalogue.BlankError, match=r"toy__features: .*has no column weight.* Mend dbt's \.yml or the sp"
    ):
        catalogue.read(toy_case())
