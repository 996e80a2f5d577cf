"""What is stale, made again: features, then predictions, then measurements. One DAG a use case; a person starts it.

**Reads** the ledgers, and of the predictions what they were made of. **Writes** nothing itself: it starts
`<case>_features`, `<case>_predict` and `<case>_monitor` for what is stale of each, a range after the other, and waits
for it without a worker. What is stale, and why: `make stale use_case=<case>`.

**Parameters**: `from` and `to`, the first and the last night; empty: all. **Skips** a stage of which nothing is stale.
**Fails** where a run that it has started does: what was made by then stands, and the next refresh goes on from there.
"""

from airflow.sdk import DAG, chain, dag

from include.contracts.use_case import UseCase
from include.orchestration import defaults, stages
from include.use_cases import use_cases


def refresh(case: UseCase) -> DAG:
    @dag(
        dag_id=f"{case.name}_refresh",
        schedule=None,
        **defaults.DAG,
        params=defaults.PARAMS,
        default_args=defaults.DEFAULTS | {"owner": case.owner},
        doc_md=__doc__,
        tags=[case.name],
    )
    def recipe() -> None:
        again = [task for stage in ("features", "predict", "monitor") for task in stages.refreshed(case.name, stage)]
        chain(*again, stages.still_stale(case.name))

    return recipe()


for one in use_cases().values():
    refresh(one)
