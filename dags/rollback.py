"""Put back the version of a model that served before, at once.

**Reads** the deployment ledger and the predictions of the use case. **Writes** a line of `gold.<case>__deployments`,
with who asked and why. The version scores from the first event date on that nobody has scored yet; days that are scored
keep their champion. The policy asks for no retraining until another version becomes champion.

**Parameters**: `use_case`; `version`, one that was champion before, where it is not to be the one that served last;
`since`, an event date, where days that are scored are to be scored again: `rescore` then starts `<use case>_refresh`
for them, and waits for it without a worker; `why`. **Fails** where there is no such version, or its files are damaged.
Asked again, it writes nothing.
"""

from airflow.sdk import Param, dag, task

from include.orchestration import defaults
from include.orchestration.operators.run_again import RunAgain
from include.use_cases import use_cases

CASES = sorted(use_cases())


@dag(
    dag_id="lakehouse_rollback",
    schedule=None,
    **defaults.DAG,
    params={
        "use_case": Param(CASES[0] if CASES else "", enum=CASES or [""], title="Whose champion"),
        "version": Param(None, type=["null", "integer"], minimum=1, title="Which version; empty: the one before"),
        "since": Param(None, type=["null", "string"], format="date", title="From which event date; empty: unscored"),
        "why": Param("", type="string", minLength=1, title="Why, for the ledger"),
    },
    render_template_as_native_obj=True,
    default_args=defaults.DEFAULTS | {"owner": "data-platform"},
    doc_md=__doc__,
    tags=["lakehouse"],
)
def rollback() -> None:
    @task(retries=2, retry_delay=5)
    def put_back(params, dag_run):
        """One line of the ledger, and MLflow's alias."""
        from datetime import date, timedelta

        from include.ml import rollback as going_back
        from include.use_cases import use_case

        who, case = f"{dag_run.triggering_user_name or 'airflow'} in Airflow", use_case(params["use_case"])
        since = date.fromisoformat(params["since"]) if params["since"] else None
        found, new = going_back.carry_out(case, params["version"], who, params["why"], since)
        print(f"{found}{'' if new else ': it is champion already, nothing was written'}")
        night = str(found.effective_from - timedelta(case.horizon_days))
        return [{"from": night, "to": None}] if since else []

    RunAgain.partial(
        task_id="rescore",
        doc_md="Score the days since again, and measure them again, where a day was given.",
        trigger_dag_id="{{ params.use_case }}_refresh",
        max_active_tis_per_dagrun=1,
    ).expand(conf=put_back())


rollback()
