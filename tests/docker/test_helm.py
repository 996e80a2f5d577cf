"""What docker/helm promises: pods that may do little, secrets by name alone, and who reaches whom."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

from include.core.settings import Settings
from include.local.programs import program
from include.local.ready import missing_secrets
from tests.docker.compose_file import CLUSTER, FOLDER, compose
from tests.docker.manifests import plain_secrets, pod_of, safety, secrets_of, structure
from tests.docker.test_compose_cluster import TALK

HELM = FOLDER / "helm"
CHART = HELM / "nocturne"
PODS = CHART / "pods"
KUBERNETES = "1.34.0"
COMPONENTS = {
    "apiServer": "api-server",
    "scheduler": "scheduler",
    "dagProcessor": "dag-processor",
    "triggerer": "triggerer",
}
# Other names for the same: whom Kubernetes has no pod of, and a worker that is a pod for each task.
NOBODY_IS_TOLD = {f"NOCTURNE_ALERT_{name}" for name in ("SLACK", "SMTP", "WEBHOOK")}  # where these are empty
NAMES = {"postgres": "database", "s3": "store", "proxy": "ingress", "worker": "task"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def told(service: str) -> set[str]:
    """The secrets that compose's ``service`` has, as the cluster of pods has them: no broker."""
    return set(compose(file=CLUSTER)["services"][service].get("secrets", [])) - {"NOCTURNE_CELERY_BROKER"}


def of_pod(pod: dict[str, Any]) -> dict[str, str]:
    return secrets_of(pod["volumes"], pod["containers"][0]["volumeMounts"])


@pytest.mark.parametrize("name", ["default", "gpu"])
def test_a_pod_of_a_task_is_one_that_kubernetes_takes_and_may_do_little(name: str) -> None:
    pod = read(PODS / f"{name}.yaml")
    assert structure(pod) == []
    assert safety(pod["spec"]) == []
    assert plain_secrets(pod) == []
    # no web server of logs, which asks for the key: they are in a bucket
    assert of_pod(pod["spec"]).keys() == told("worker") - {"NOCTURNE_API_SECRET_KEY"}


def test_a_pod_with_a_gpu_differs_in_that_alone() -> None:
    plain, gpu = read(PODS / "default.yaml"), read(PODS / "gpu.yaml")
    container = gpu["spec"]["containers"][0]
    assert container["resources"]["limits"].pop("nvidia.com/gpu") == "1"
    assert container.pop("env") == [{"name": "NOCTURNE_DEVICE", "value": "cuda"}]
    assert [one["key"] for one in gpu["spec"].pop("tolerations")] == ["nvidia.com/gpu"]
    for pod in (plain, gpu):
        del pod["spec"]["containers"][0]["image"], pod["spec"]["containers"][0]["resources"]
    assert gpu == plain


def test_airflow_makes_a_task_of_the_template() -> None:
    pod = PodGenerator.construct_pod(
        dag_id="use_case_flight_delays",
        task_id="train",
        pod_id="use-case-flight-delays-train-x1",
        try_number=1,
        kube_image="",  # none is set: that of the template holds
        date=None,
        args=["python", "-m", "airflow.sdk.execution_time.execute_workload", "--json-string", "{}"],
        pod_override_object=None,
        base_worker_pod=PodGenerator.deserialize_model_file(str(PODS / "gpu.yaml")),
        namespace="nocturne",
        scheduler_job_id="7",
    )
    container = pod.spec.containers[0]
    assert container.image == "nocturne-gpu"
    assert container.command[-2:] == ["exec", "--"]
    assert container.args[:3] == ["python", "-m", "airflow.sdk.execution_time.execute_workload"]
    assert container.resources.limits["nvidia.com/gpu"] == "1"
    assert pod.metadata.labels.items() >= {"component": "task", "kubernetes_executor": "True"}.items()


def test_a_task_starts_with_what_its_pod_has(tmp_path: Path) -> None:
    pod = read(PODS / "default.yaml")["spec"]
    container = pod["containers"][0]
    # the image's own variables and the chart's settings; secrets are files there, and variables of the same names here
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(FOLDER.parent),
        "HOME": "/tmp",
        "NOCTURNE_CONTAINER": "true",
        "NOCTURNE_VAR": str(tmp_path),
        "NOCTURNE_PROFILE": "cluster",
        "NOCTURNE_EXECUTOR": "kubernetes",
        "NOCTURNE_AIRFLOW_REMOTE": "http://airflow-api-server:8080",
        "NOCTURNE_MLFLOW_REMOTE": "http://mlflow:5000",
        "NOCTURNE_SPARK_REMOTE": "sc://spark:15002",
        "AWS_SHARED_CREDENTIALS_FILE": "/etc/nocturne/aws/credentials",
        **read(CHART / "values.yaml")["settings"],
    }
    secrets = {name: given(name) for name in of_pod(pod) if name.startswith("NOCTURNE_")}
    assert container["command"][:2] == ["tini", "--"]
    command = [*container["command"][2:], "python", "-m", "airflow.sdk.execution_time.execute_workload"]

    def said(given: dict[str, str]) -> str:
        asked = [*command, "--json-string", "{}"]
        done = subprocess.run(asked, env=given, capture_output=True, text=True, check=False, cwd="/")
        return done.stdout + done.stderr

    assert "Failed to parse input JSON string" in said(environment | secrets)
    without = {name: value for name, value in secrets.items() if name != "NOCTURNE_MLFLOW_ADMIN_PASSWORD"}
    assert "NOCTURNE_MLFLOW_ADMIN_PASSWORD is missing" in said(environment | without)


def queue_of_a_training(executor: str) -> dict[str, Any]:
    code = "import json; from include.orchestration.defaults import TRAINING as t; print(json.dumps(t, default=str))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NOCTURNE_EXECUTOR": executor},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_a_training_has_the_pod_with_a_gpu_and_no_file_is_named_where_there_are_no_pods() -> None:
    assert queue_of_a_training("kubernetes")["executor_config"] == {"pod_template_file": "/etc/nocturne/pods/gpu.yaml"}
    assert "executor_config" not in queue_of_a_training("celery")
    mounted = read(HELM / "airflow-values.yaml")["scheduler"]["extraVolumeMounts"]
    assert {"name": "pods", "mountPath": "/etc/nocturne/pods", "readOnly": True} in mounted


def test_who_reaches_whom_is_as_on_the_cluster_of_containers() -> None:
    reaches = read(CHART / "talk.yaml")["reaches"]
    beside = {"outside", "kubernetes"}  # networks of their own in compose; Kubernetes' API is not there
    expected = {
        NAMES.get(name, name): {NAMES.get(one, one) for one in others} - {"redis"}
        for name, others in TALK.items()
        if name not in ("worker-spark", "worker-gpu", "spark-worker", "operator")
    }
    expected["api-server"] -= {"task", "worker-spark", "worker-gpu"}  # logs are in a bucket, and Kubernetes has them
    expected["spark"] -= {"spark-master", "spark-worker"}  # one driver, with its executors in it
    expected["ingress"] -= {"store"}
    assert {name: set(others) - beside for name, others in reaches.items()} == expected
    outside = {name for name, one in compose(file=CLUSTER)["services"].items() if "outside" in one["networks"]}
    assert {name for name, others in reaches.items() if "outside" in others} == {
        NAMES.get(name, name) for name in outside - {"worker-spark", "worker-gpu", "proxy"}
    }
    assert {name for name, others in reaches.items() if "kubernetes" in others} == {"scheduler", "api-server"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_of_airflow_is_started_by_us_with_its_own_secrets(component: str) -> None:
    values = read(HELM / "airflow-values.yaml")
    its, name = values[component], COMPONENTS[component]
    assert [*its["command"], *its["args"]] == ["tini", "--", "python", "-m", "include.cli", "serve", name]
    volumes = [*values["volumes"], *its["extraVolumes"]]
    mounts = [*values["volumeMounts"], *its["extraVolumeMounts"]]
    assert secrets_of(volumes, mounts).keys() == told(name)
    pod = {
        "securityContext": its["securityContexts"]["pod"],
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": name,
                "securityContext": its["securityContexts"]["container"],
                "resources": its["resources"],
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
    assert structure({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod}) == []
    assert safety(pod) == []
    # tokens of Kubernetes for those who make pods and read their logs, and for no others
    account = its.get("serviceAccount", {"automountServiceAccountToken": True})
    assert account["automountServiceAccountToken"] is (component in ("apiServer", "scheduler"))
    assert its["waitForMigrations"] == {"enabled": False}  # `serve` looks itself


def given(name: str) -> str:
    """A value that a secret of that name may have."""
    if name in NOBODY_IS_TOLD:
        return ""
    return "postgresql://user:given@db:5432/any" if name.endswith("_DB") else "given"


def settings_with(names: set[str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a pod that is given the secrets ``names``, and no others."""
    for name in os.environ:
        if name.startswith(("NOCTURNE_", "AIRFLOW__")):
            monkeypatch.delenv(name)
    values = read(CHART / "values.yaml")["settings"]
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for name in names:
        monkeypatch.setenv(name, given(name))
    monkeypatch.setenv("NOCTURNE_PROFILE", "cluster")
    monkeypatch.setenv("NOCTURNE_EXECUTOR", "kubernetes")
    return Settings()


@pytest.mark.parametrize("service", ["api-server", "scheduler", "dag-processor", "triggerer", "mlflow", "spark"])
def test_a_service_lacks_no_secret_and_has_none_too_many(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {name for name in told(service) if name.startswith("NOCTURNE_")} - {"NOCTURNE_SPARK_SECRET"}
    settings = settings_with(names, monkeypatch)
    assert missing_secrets(settings, program(settings, service)) == []
    # two that no program has in its environment: `serve` writes them into files for it
    optional = {*NOBODY_IS_TOLD, "NOCTURNE_METRICS_TOKEN"}
    for name in names - {"NOCTURNE_AIRFLOW_ADMIN_PASSWORD", "NOCTURNE_PSEUDONYM_KEY"} - optional:
        fewer = settings_with(names - {name}, monkeypatch)
        assert any(name in line for line in missing_secrets(fewer, program(fewer, service))), name


def test_airflows_chart_makes_no_secret_and_no_database() -> None:
    values = read(HELM / "airflow-values.yaml")
    assert plain_secrets(values) == []
    assert not any(values["enableBuiltInSecretEnvVars"].values())
    named = ("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName", "webserverSecretKeySecretName")
    assert {values[name] for name in named} | {values["data"]["metadataSecretName"]} == {"nocturne"}
    for part in ("postgresql", "redis", "pgbouncer", "statsd", "flower", "migrateDatabaseJob", "createUserJob"):
        assert values[part] == {"enabled": False}
    assert values["workers"]["serviceAccount"] == {"create": True, "automountServiceAccountToken": False}


def schema() -> dict[str, Any]:
    return json.loads((CHART / "values.schema.json").read_text())


def test_the_values_have_the_form_of_their_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema())
    jsonschema.validate(read(CHART / "values.yaml"), schema())


def under(*path: str, **keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        for part in path:
            values = values[part]
        values.update(keys)

    return change


BAD_VALUES: list[Callable[[dict[str, Any]], None]] = [
    under("settings", NOCTURNE_SPARK_TOKEN="planted"),
    under("settings", NOCTURNE_AIRFLOW_DB="postgresql://db/airflow"),
    under("settings", AIRFLOW__CORE__FERNET_KEY="planted"),
    under("settings", AWS_SECRET_ACCESS_KEY="planted"),
    under("settings", AIRFLOW_CONN_STORE="planted"),
    under("settings", OPENLINEAGE_URL="https://user:planted@lineage.example"),
    under("settings", NOCTURNE_LAKE_URI="/nocturne/var/lake"),  # of one pod: no other sees it
    under("settings", nocturne_device="cpu"),
    under("network", "store", peers=[]),  # which would be everybody
    under("network", "database", ports=[0]),
    under("mlflow", replica=2),
    under("spark", resources={"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {}}),
    under("spark", heap="3"),
    under("images", pullPolicy="Sometimes"),
]


@pytest.mark.parametrize("change", BAD_VALUES)
def test_values_that_would_not_do_are_refused(change: Callable[[dict[str, Any]], None]) -> None:
    values = read(CHART / "values.yaml")
    change(values)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, schema())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (under("spec", hostNetwork=True), "hostNetwork opens the machine"),
        (under("spec", securityContext={"runAsNonRoot": False}), "runs as root"),
        (under("spec", automountServiceAccountToken=True), "gets a token of Kubernetes"),
        (under("spec", volumes=[{"name": "var", "hostPath": {"path": "/"}}]), "the volume var is of the machine"),
    ],
)
def test_a_pod_that_may_do_more_is_seen(change: Callable[[dict[str, Any]], None], found: str) -> None:
    pod = read(PODS / "default.yaml")
    change(pod)
    assert found in safety(pod["spec"])


def test_a_field_that_kubernetes_does_not_know_is_seen() -> None:
    pod = read(PODS / "default.yaml")
    pod["spec"]["containers"][0]["resource"] = {}
    pod["spec"]["terminationGracePeriodSeconds"] = "600"
    assert sorted(structure(pod)) == [
        "Pod.spec.containers[0]: there is no field resource",
        "Pod.spec.terminationGracePeriodSeconds: '600' is no int",
    ]


def test_a_secret_in_a_manifest_is_seen() -> None:
    pod = read(PODS / "default.yaml")
    pod["spec"]["containers"][0]["env"] = [{"name": "NOCTURNE_SPARK_TOKEN", "value": "planted"}]
    assert len(plain_secrets(pod)) == 1
    assert plain_secrets({"kind": "Secret", "stringData": {"a": "b"}})
    assert plain_secrets({"kind": "ConfigMap", "data": {"NOCTURNE_FERNET_KEY": "planted"}})
    assert plain_secrets({"kind": "ConfigMap", "data": {"address": "redis://:planted@redis:6379"}})


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("helm")
    if not found:
        pytest.fail("there is no helm: go install helm.sh/helm/v3/cmd/helm@v3.22.0, and have its folder in PATH")
    return subprocess.run([found, *arguments], capture_output=True, text=True, check=False, timeout=120)


def rendered(*arguments: str) -> list[dict[str, Any]]:
    done = helm("template", "nocturne", str(CHART), "--namespace", "nocturne", "--kube-version", KUBERNETES, *arguments)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


VALUES = {
    "as they are": [],
    "others": [
        *("--set", "mlflow.replicas=2", "--set", "secret=other", "--set", "images.pullSecrets={registry}"),
        *("--set", r"serviceAccounts.task.eks\.amazonaws\.com/role-arn=arn:aws:iam::123456789012:role/nocturne-task"),
        *("--set", "gpu.nodeSelector.pool=gpu", "--set", "images.gpu=registry.example/nocturne-gpu@sha256:00"),
    ],
    "a Spark elsewhere": ["--set", "spark.enabled=false", "--set", "settings.NOCTURNE_SPARK_REMOTE=sc://emr:15002"],
}


@pytest.mark.full
def test_the_chart_is_well_formed() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.full
@pytest.mark.parametrize("values", VALUES)
def test_what_the_chart_makes_is_taken_by_kubernetes_and_holds_no_secret(values: str) -> None:
    manifests = rendered(*VALUES[values])
    pods = next(one["data"] for one in manifests if one["metadata"]["name"] == "nocturne-pods")
    every = [*manifests, *map(yaml.safe_load, pods.values())]
    for manifest in every:
        where = f"{manifest['kind']} {manifest['metadata']['name']}"
        assert structure(manifest) == [], where
        assert plain_secrets(manifest) == [], where
        if pod := pod_of(manifest):
            assert safety(pod) == [], where
            names = {one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}
            assert names == {"other" if values == "others" else "nocturne"}, where
    accounts = {one["metadata"]["name"] for one in manifests if one["kind"] == "ServiceAccount"}
    assert {pod["serviceAccountName"] for pod in map(pod_of, every) if pod} <= accounts
    kinds = [one["kind"] for one in manifests]
    assert kinds.count("PodDisruptionBudget") == (values == "others")
    assert ("spark" in {one["metadata"]["name"] for one in manifests if one["kind"] == "Deployment"}) == (
        values != "a Spark elsewhere"
    )


@pytest.mark.full
def test_each_service_of_the_chart_has_its_own_secrets_and_settings() -> None:
    made = {one["metadata"]["name"]: one for one in rendered()}
    for service, name in {"mlflow": "mlflow", "spark": "spark", "init": "nocturne-init-1"}.items():
        pod = pod_of(made[name])
        assert pod is not None
        # no cluster of Spark's own is behind the driver
        assert of_pod(pod).keys() == told(service) - {"NOCTURNE_SPARK_SECRET"}
        assert pod["containers"][0]["args"] == (["init"] if service == "init" else ["serve", service])
    settings = made["nocturne-settings"]["data"]
    assert settings["NOCTURNE_EXECUTOR"] == "kubernetes"
    assert "NOCTURNE_SPARK_REMOTE" not in settings  # Spark itself would look for another one
    assert made["nocturne-task-settings"]["data"]["NOCTURNE_SPARK_REMOTE"] == "sc://spark:15002"
    pods = {name: yaml.safe_load(text) for name, text in made["nocturne-pods"]["data"].items()}
    assert pods["gpu.yaml"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def lets(policies: list[dict[str, Any]], component: str, direction: str, other: str, port: int) -> bool:
    """Whether a policy of ``component`` lets it reach ``other`` (``egress``), or be reached by it (``ingress``)."""
    own = {"matchLabels": {"component": component}}
    end = {"podSelector": {"matchLabels": {"component": other}}}
    rules = [rule for one in policies if one["spec"]["podSelector"] == own for rule in one["spec"].get(direction, [])]
    key = {"egress": "to", "ingress": "from"}[direction]
    return any(end in rule[key] and port in [one["port"] for one in rule["ports"]] for rule in rules)


@pytest.mark.full
def test_the_network_policies_let_through_what_is_said_and_nothing_else() -> None:
    talk = read(CHART / "talk.yaml")
    policies = [one for one in rendered() if one["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in [one["spec"] for one in policies]
    inside = talk["reaches"].keys() - {"ingress"}
    for component in inside:
        for other, port in talk["listens"].items():
            said = other in talk["reaches"][component]
            assert lets(policies, component, "egress", other, port) is said, (component, other)
            assert lets(policies, other, "ingress", component, port) is said, (component, other)
            assert not lets(policies, component, "egress", other, port + 1)
    for one in policies:
        for rule in [*one["spec"].get("egress", []), *one["spec"].get("ingress", [])]:
            assert rule.get("to") or rule.get("from"), "a rule without peers is one for everybody"


@pytest.mark.full
def test_helm_itself_refuses_a_secret_among_the_settings() -> None:
    done = helm(
        *("template", "nocturne", str(CHART), "--kube-version", KUBERNETES),
        *("--set", "settings.NOCTURNE_AIRFLOW_DB=postgresql://airflow:planted@db/airflow"),
    )
    assert done.returncode != 0
    assert "NOCTURNE_AIRFLOW_DB" in done.stderr
