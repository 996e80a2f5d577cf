"""A training in Airflow, followed to the verdict of the gates.

The first champion of a use case comes from here; later ones are asked for by the policy, or from here again.
"""

from __future__ import annotations

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.core.partitions import Partitions
from include.ml import approvals, ledger, record, rollouts
from include.orchestration.airflow_client import Airflow


class NoNewChampionError(NeedsAttentionError):
    """Nothing was trained, or the gates refused what was; the message says why. One that waits, for days with labels or
    for an approval, is no error."""


def run(airflow: Airflow, case: UseCase, through: Partitions) -> str:
    """Train on all that is known by ``through``. Returns what became of it, in a line.

    Raises NoNewChampionError, RunFailedError where the run failed, AirflowError where Airflow refuses.
    """
    dag_id = f"{case.name}_train"
    page = f"{airflow.url}/dags/{dag_id}"
    airflow.wait_for_dags({dag_id})
    if dag_id in airflow.paused():
        raise NoNewChampionError(f"{dag_id} is paused: take that off first, at {page}")
    started = airflow.trigger(dag_id, through)
    print(f"{dag_id} {through}; watch it at {page}")
    airflow.follow([started])
    version = int(airflow.result(started, "train")["version"])
    for row in ledger.read(case):
        if row.model_version == version:
            return f"version {version} is champion from {row.effective_from} on: {row.reason}"
    judgement = record.last_judgement(case, version)
    why = "; ".join(judgement.reasons) if judgement else "it was not judged"
    if judgement and judgement.verdict == "wait":
        return f"version {version} waits: {why}"
    if judgement and judgement.verdict == "promote":
        on_its_way = rollouts.how_it_stands(rollouts.read(case), version, judgement.model_sha256)
        return f"version {version} is not champion yet: {on_its_way or approvals.how_it_stands(case, version)}"
    raise NoNewChampionError(f"version {version} was refused: {why}")
