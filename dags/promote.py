"""Promote a version that persons have to approve, or that one of them has asked for. One DAG a use case.

**Reads** the trainings, judgements and deployments of the use case. **Writes** the question, each answer and what was
shown as lines of `gold.<case>__approvals`, and a line of `gold.<case>__deployments` with who and why.

Starts where the gates have let a version through and the spec asks for approvals (`Promotion.approvals`), or by hand.
**Parameters** by hand: `version`, one that waits or is older than the champion; `why`. One that the gates have refused
nobody can promote.

`approve` shows the version to a person (*Required Actions* in Airflow), `approve_too` to another one, for
`Promotion.approval_hours` in all; no answer is a no. **Skips** everything after a no. **Fails** where what was approved
is not what is there now: another champion, another judgement, other files. No night waits for it.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, PartitionedAssetTimetable, chain, dag

from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.orchestration import assets, defaults, stages
from include.use_cases import use_cases

AT_ONCE = 8  # questions of a use case, open for days each


def promote(case: UseCase) -> DAG:
    asks = case.promotion.approvals > 0
    longest = timedelta(hours=settings().run_hours + case.promotion.approval_hours)

    @dag(
        dag_id=f"{case.name}_promote",
        schedule=PartitionedAssetTimetable(assets=assets.approval_request(case.name)) if asks else None,
        **defaults.DAG | {"max_active_runs": AT_ONCE, "dagrun_timeout": longest},
        params={
            "version": Param(None, type=["null", "integer"], minimum=1, title="Which version, by hand"),
            "why": Param("", type="string", title="Why, for the ledger"),
        },
        default_args=defaults.DEFAULTS | {"owner": case.owner},
        doc_md=__doc__,
        tags=[case.name],
    )
    def recipe() -> None:
        promoted = stages.carry_out(case.name)
        chain(stages.ask(case.name), *stages.approvals(case.name), promoted)
        stages.score_waiting(case.name, promoted)

    return recipe()


for one in use_cases().values():
    promote(one)
