"""Gates, and what becomes champion through them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from include.contracts.use_case import UseCase
from include.ml import errors, ledger, registry, tasks
from include.ml.tasks import Compared, Task
from include.use_cases import use_case

REFUSED = "refused"
"""The tag on a version that failed its gates; its value is the reasons."""


def gate_reasons(task: Task, found: Mapping[str, float], champion: int | None) -> list[str]:
    """Why a challenger with these metrics must not become champion; empty when it may.

    ``champion`` is the version that it would replace. A metric that is missing fails its gate.
    """
    return task.reasons(found) + (_against_champion(task, found, champion) if champion is not None else [])


def _against_champion(task: Task, found: Mapping[str, float], champion: int) -> list[str]:
    if found.get("champion_version") != champion:
        return [f"it was not compared with the champion, version {champion}: train again"]
    if not found.get("compared_days", 0) >= 1:
        return [f"version {champion} was fitted on all of the holdout's days, so nothing fair can be compared"]
    said = (_lost(task, one, found, champion) for one in task.compared)
    return [reason for reason in said if reason]


def _lost(task: Task, compared: Compared, found: Mapping[str, float], champion: int) -> str | None:
    """What the challenger loses of a metric to the champion, where it is too much."""
    name, words = compared.metric, compared.words
    theirs, own = (found.get(f"compared_{who}_{name}", float("nan")) for who in ("champion", "challenger"))
    higher = name in task.higher_is_better
    lost = theirs - own if higher else own - theirs
    most = compared.most_lost * abs(theirs) if compared.relative else compared.most_lost
    # Written as "not good", so that NaN fails.
    if not lost <= most:
        limit = f"{compared.most_lost:.1%} of it" if compared.relative else f"{most}"
        if higher:
            return f"it loses {lost:.4f} of {words} to version {champion} on the same days, over {limit}"
        return f"its {words} is {lost:.4f} above version {champion}'s on the same days, over {limit}"
    return None


def promote(name: str, version: int, decided_by: str = "gates") -> dict[str, Any]:
    """Task: make ``version`` champion of use case ``name`` from the first day not scored yet, if it passes its gates.

    Writes one ledger row and moves the alias ``champion``; or tags the version ``refused`` with the reasons, and
    leaves the ledger as it is. Asking again gives the same answer and writes nothing.
    Raises RegistryRefusedError for an unknown version, UnknownRecipeError for one that no training registered.

    Returns ``promoted``, ``version``, ``reasons`` (of a refusal), ``effective_from`` (of a promotion), ``replaces``.
    """
    from mlflow import MlflowClient

    case, client = use_case(name), MlflowClient()
    with ledger.deploying(case), errors.of_mlflow(f"to promote version {version} of {case.name}"):
        found = client.get_model_version(case.name, str(version))
        rows, champion = ledger.read(case), ledger.latest_champion(case)
        answer = {"promoted": False, "version": version, "reasons": [], "effective_from": None, "replaces": None}
        answer["replaces"] = champion.model_version if champion else None
        earlier = next((row for row in rows if row.model_version == version), None)
        if earlier is not None:
            # An earlier try may have died between the ledger and the alias. Never move it back, though.
            if champion is not None and champion.model_version == version:
                client.set_registered_model_alias(case.name, "champion", str(version))
            replaced = ledger.pick([row for row in rows if row.decided_at < earlier.decided_at], date.max)
            answer["replaces"] = replaced.model_version if replaced else None
            return answer | {"promoted": True, "effective_from": str(earlier.effective_from)}
        if REFUSED in found.tags:
            return answer | {"reasons": json.loads(found.tags[REFUSED])}
        known, task = registry.described(client, found), tasks.of(case)
        reasons = gate_reasons(task, known.metrics, champion.model_version if champion else None)
        if reasons:
            client.set_model_version_tag(case.name, str(version), REFUSED, json.dumps(reasons))
            return answer | {"reasons": reasons}
        row = ledger.append(
            case,
            model_version=version,
            effective_from=ledger.first_free_day(case, known.trained_through),
            decided_by=decided_by,
            reason=f"passed all gates with {task.summary(known.metrics)} on its holdout",
            run_id=known.run_id,
            model_sha256=registry.tag(found, "model_sha256"),
            reference_sha256=registry.tag(found, "reference_sha256"),
            trained_from=known.trained_from,
            fitted_through=known.fitted_through,
            trained_through=known.trained_through,
        )
        client.set_registered_model_alias(case.name, "champion", str(version))
        return answer | {"promoted": True, "effective_from": str(row.effective_from)}


def refusals(case: UseCase, version: int) -> list[str]:
    """Why ``version`` was refused; empty where it was not, or was not judged yet."""
    found: list[str] = json.loads(registry.tags_of(case, version).get(REFUSED, "[]"))
    return found
