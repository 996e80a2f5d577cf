"""Put back the version of a model that served before, at once.

**Reads** the deployment ledger and the predictions of the use case. **Writes** a line of `gold.<case>__deployments`,
with who asked and why. The version scores from the first event date on that nobody has scored yet; days that are scored
keep their champion. The policy asks for no retraining until another version becomes champion.

**Parameters**: `use_case`; `version`, one that was champion before, where it is not to be the one that served last;
`why`. **Fails** where there is no such version, or its files are damaged. Asked again, it writes nothing.
"""

from airflow.sdk import Param, dag, task

from include.orchestration import defaults
from include.use_cases import use_cases

CASES = sorted(use_cases())


@dag(
    dag_id="lakehouse_rollback",
    schedule=None,
    **defaults.DAG,
    params={
        "use_case": Param(CASES[0] if CASES else "", enum=CASES or [""], title="Whose champion"),
        "version": Param(None, type=["null", "integer"], minimum=1, title="Which version; empty: the one before"),
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
        from include.ml import rollback as going_back
        from include.use_cases import use_case

        who = f"{dag_run.triggering_user_name or 'airflow'} in Airflow"
        found, new = going_back.carry_out(use_case(params["use_case"]), params["version"], who, params["why"])
        print(f"{found}{'' if new else ': it is champion already, nothing was written'}")
        return {"version": found.back.model_version, "effective_from": str(found.effective_from), "written": new}

    put_back()


rollback()
