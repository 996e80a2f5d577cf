"""What docker/aws lets each component do: all that its code asks AWS for, and nothing that another one's does."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from include.contracts.publishing import ToFiles
from include.core import backends
from include.core.settings import Settings
from include.local.checks import check_bucket, make_bucket
from include.local.environment import CLIENT_SECRETS, of_secrets
from include.local.programs import program
from include.orchestration import channels
from include.orchestration.alert_log import Alert
from include.serving.publishing import files
from tests.docker.compose_file import CLUSTER, FOLDER, compose

POLICIES = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "aws").glob("*.json"))}
ACCOUNT = "eu-west-1:123456789012"
LAKE, LANDING, LOGS = ("arn:aws:s3:::nocturne/" + place for place in ("lake/t/x", "landing/s/f", "logs/d"))
BUCKET, MODELS = "arn:aws:s3:::nocturne", "arn:aws:s3:::nocturne-models"
ARTIFACT = f"{MODELS}/artifacts/1/model.ubj"
TOPIC = f"arn:aws:sns:{ACCOUNT}:nocturne-alerts"
# What each place is asked for, by whom: delta-rs, Polars, s3fs, Spark's S3A and MLflow all say it in these actions.
WHO = {
    ("s3:ListBucket", BUCKET): {"init", "api-server", "triggerer", "task", "spark"},
    ("s3:ListBucket", MODELS): {"init", "mlflow"},
    ("s3:CreateBucket", BUCKET): {"init"},
    ("s3:CreateBucket", MODELS): {"init"},
    ("s3:GetObject", LAKE): {"init", "api-server", "triggerer", "task", "spark"},
    ("s3:PutObject", LAKE): {"init", "task", "spark"},
    ("s3:AbortMultipartUpload", LAKE): {"init", "task", "spark"},
    ("s3:DeleteObject", LAKE): {"init", "task", "spark"},
    ("s3:GetObject", LANDING): {"task", "spark"},
    ("s3:PutObject", LANDING): {"task"},
    ("s3:DeleteObject", LANDING): {"task"},
    ("s3:GetObject", LOGS): {"task", "api-server"},
    ("s3:PutObject", LOGS): {"task", "triggerer"},
    ("s3:DeleteObject", LOGS): set(),
    ("s3:GetObject", ARTIFACT): {"mlflow"},
    ("s3:PutObject", ARTIFACT): {"mlflow"},
    ("s3:DeleteObject", ARTIFACT): {"mlflow"},
    ("sns:Publish", TOPIC): {"scheduler", "dag-processor", "task"},
    ("sns:Publish", f"arn:aws:sns:{ACCOUNT}:another"): set(),
    ("s3:GetObject", "arn:aws:s3:::another/lake/t/x"): set(),
    ("s3:PutObjectAcl", LAKE): set(),
    ("s3:DeleteBucket", BUCKET): set(),
    ("secretsmanager:PutSecretValue", f"arn:aws:secretsmanager:{ACCOUNT}:secret:airflow/config/x-Ab12Cd"): set(),
    ("iam:PassRole", "arn:aws:iam::123456789012:role/any"): set(),
}
AIRFLOWS = {"api-server", "scheduler", "dag-processor", "triggerer", "task"}
RESOURCE = re.compile(r"arn:aws:(s3:::[a-z-]+(/[a-z]+/\*)?|(secretsmanager|sns):\*:\*:[a-zA-Z:/_?*-]+)")
ACTIONS = {
    ("s3", "ListObjectsV2"): "s3:ListBucket",
    ("s3", "HeadBucket"): "s3:ListBucket",
    ("s3", "CreateBucket"): "s3:CreateBucket",
    ("s3", "HeadObject"): "s3:GetObject",
    ("s3", "PutObject"): "s3:PutObject",
    ("secretsmanager", "GetSecretValue"): "secretsmanager:GetSecretValue",
    ("sns", "Publish"): "sns:Publish",
}


def allowed(component: str, action: str, resource: str) -> bool:
    """Whether the policy of ``component`` lets it. There are no denials, which a test sees to."""
    return any(
        action in one["Action"] and any(fnmatch.fnmatchcase(resource, pattern) for pattern in one["Resource"])
        for one in POLICIES[component]["Statement"]
    )


def who(action: str, resource: str) -> set[str]:
    return {component for component in POLICIES if allowed(component, action, resource)}


@pytest.mark.parametrize("component", POLICIES)
def test_a_policy_is_one_that_aws_takes_and_names_what_it_allows(component: str) -> None:
    policy = POLICIES[component]
    assert policy.keys() == {"Version", "Statement"}
    assert policy["Version"] == "2012-10-17"
    assert len(re.sub(r"\s", "", json.dumps(policy))) <= 6144  # AWS's own limit
    names = [one["Sid"] for one in policy["Statement"]]
    assert len(set(names)) == len(names)
    for one in policy["Statement"]:
        assert one.keys() == {"Sid", "Effect", "Action", "Resource"}
        assert one["Effect"] == "Allow"
        assert re.fullmatch("[A-Za-z0-9]+", one["Sid"])
        assert not any("*" in action for action in one["Action"])
        for resource in one["Resource"]:
            assert RESOURCE.fullmatch(resource), resource
    request = {"PolicyName": f"nocturne-{component}", "PolicyDocument": json.dumps(policy)}
    client = boto3.client("iam", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y")
    shape = client.meta.service_model.operation_model("CreatePolicy").input_shape
    assert not ParamValidator().validate(request, shape).has_errors()


@pytest.mark.parametrize(("action", "resource"), WHO)
def test_who_may_do_what(action: str, resource: str) -> None:
    assert who(action, resource) == WHO[action, resource]


def test_no_policy_allows_what_nobody_asks_for() -> None:
    given = {action for policy in POLICIES.values() for one in policy["Statement"] for action in one["Action"]}
    assert given == {action for (action, _), may in WHO.items() if may} | {"secretsmanager:GetSecretValue"}


def asked_by(component: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The settings that ``component`` asks Secrets Manager for as it starts, by the code itself."""
    found = set()

    def asked(kind: str, parameters: str, name: str) -> str:
        found.add(name)
        return "postgresql://user:given@db:5432/any" if name.endswith("_db") else "given"

    monkeypatch.setattr(backends, "asked", asked)
    for name in os.environ:
        if name.startswith(("NOCTURNE_", "AIRFLOW__")):
            monkeypatch.delenv(name)
    given = {
        "NOCTURNE_PROFILE": "cluster",
        "NOCTURNE_EXECUTOR": "kubernetes",
        "NOCTURNE_SECRETS_BACKEND": "aws",
        "NOCTURNE_LAKE_URI": "s3://nocturne/lake",
        "NOCTURNE_SPARK_REMOTE": "" if component == "spark" else "sc://spark:15002",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    of_secrets(settings, CLIENT_SECRETS if component == "task" else program(settings, component).secrets)
    return found


WITHOUT_AIRFLOW = {"mlflow", "spark"}
"""Whose image has no Airflow, by whose backend Secrets Manager is asked: they are given their secrets."""


@pytest.mark.parametrize("image", ["airflow", "mlflow", "spark"])
def test_only_airflows_image_can_ask_secrets_manager(image: str) -> None:
    root = FOLDER.parent
    command = [sys.executable, "docker/runtime_lock.py", "requirements.in", "requirements.txt", image]
    lock = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert ("apache-airflow-providers-amazon==" in lock) is (image not in WITHOUT_AIRFLOW)


@pytest.mark.parametrize("component", POLICIES)
def test_each_may_ask_for_its_own_secrets_and_for_no_others(component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # a secret that it may not ask for is an error, where one that is not there is none: it may ask for all that it does
    service = compose(file=CLUSTER)["services"]["worker" if component == "task" else component]
    beside = {"NOCTURNE_CELERY_BROKER", "NOCTURNE_SPARK_SECRET", *(["NOCTURNE_API_SECRET_KEY"] * (component == "task"))}
    told = {name.removeprefix("NOCTURNE_").lower() for name in service["secrets"] if name.startswith("NOCTURNE_")}
    told -= {name.removeprefix("NOCTURNE_").lower() for name in beside}
    own = told | (set() if component == "init" else asked_by(component, monkeypatch))
    own = set() if component in WITHOUT_AIRFLOW else own
    prefix = f"arn:aws:secretsmanager:{ACCOUNT}:secret:airflow/"
    for name in Settings.model_fields:
        arn = f"{prefix}config/nocturne_{name}-Ab12Cd"
        assert allowed(component, "secretsmanager:GetSecretValue", arn) is (name in own), name
    for kind in ("connections", "variables"):
        arn = f"{prefix}{kind}/store-Ab12Cd"
        assert allowed(component, "secretsmanager:GetSecretValue", arn) is (component in AIRFLOWS)


Request = tuple[str, str, dict[str, Any]]


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What is sent to AWS instead of being sent, once botocore has found each request to be one that AWS takes."""
    sent: list[Request] = []

    def record(self: BaseClient, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        shape = self.meta.service_model.operation_model(operation).input_shape
        problems = ParamValidator().validate(parameters, shape)
        assert not problems.has_errors(), problems.generate_report()
        sent.append((self.meta.service_model.service_name, operation, parameters))
        if operation.startswith("Head"):
            raise ClientError({"Error": {"Code": "404", "Message": "Not Found"}}, operation)
        return {"SecretString": "given", "MessageId": "1", "ETag": '"1"'}

    monkeypatch.setattr(BaseClient, "_make_api_call", record)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return sent


def actions(requests: list[Request]) -> list[tuple[str, str]]:
    """The action and the resource by which AWS decides on each request."""
    found = []
    for service, operation, parameters in requests:
        if service == "s3":
            key = parameters.get("Key")
            resource = f"arn:aws:s3:::{parameters['Bucket']}" + (f"/{key}" if key else "")
        elif service == "secretsmanager":
            resource = f"arn:aws:secretsmanager:{ACCOUNT}:secret:{parameters['SecretId']}-Ab12Cd"
        else:
            resource = parameters["TargetArn"]
        found.append((ACTIONS[service, operation], resource))
    return found


class Bucket:
    """A place in S3 whose requests go through botocore, as those of s3fs do."""

    drive = "nocturne"

    def __init__(self) -> None:
        self.fs = SimpleNamespace(call_s3=self.call)
        self.client = boto3.client("s3")

    def call(self, operation: str, **parameters: Any) -> Any:
        try:
            return getattr(self.client, operation)(**parameters)
        except ClientError as error:
            raise FileNotFoundError from error


def test_init_may_make_its_buckets_and_who_uses_them_may_look(requests: list[Request]) -> None:
    place: Any = Bucket()
    assert make_bucket(place)
    assert all(allowed("init", *one) for one in actions(requests))
    assert len(requests) == 2
    requests.clear()
    check_bucket(place)
    assert who(*actions(requests)[0]) >= {"task", "spark"}


def test_an_alert_is_published_by_those_who_tell_of_failures(requests: list[Request]) -> None:
    alert: Any = dict.fromkeys(Alert.__annotations__, "any")
    channels.publish(Settings(alert_sns=TOPIC), alert)
    assert [who(*one) for one in actions(requests)] == [{"scheduler", "dag-processor", "task"}]


def test_a_secret_is_asked_for_by_the_name_that_policies_have(requests: list[Request]) -> None:
    backends.asked.cache_clear()
    assert backends.asked("aws", "{}", "spark_token") == "given"
    backends.asked.cache_clear()
    assert [who(*one) for one in actions(requests)] == [{"init", "task"}]


def test_predictions_are_put_as_s3_takes_them(requests: list[Request]) -> None:
    target = ToFiles("s3://nocturne/lake/published")
    case: Any = SimpleNamespace(name="flight_delays")
    bucket = files.Bucket(case, target)
    day = date(2013, 6, 1)
    assert bucket._found(day) is None
    bucket._put(day, b"x", files.Marker(case.name, 1, "content", 1, 1, 1, "hash"))
    assert [operation for _, operation, _ in requests] == ["HeadObject", "PutObject"]
    assert all(allowed("task", *one) for one in actions(requests))


def test_every_client_of_ours_is_one_that_was_looked_at() -> None:
    code = "\n".join(path.read_text() for path in sorted((Path(__file__).parents[2] / "include").rglob("*.py")))
    assert set(re.findall(r"boto3\.(?:client|resource)\(\s*\"(\w+)\"", code)) == {"s3"}
    assert set(re.findall(r"call_s3\(\"(\w+)\"", code)) == {"list_objects_v2", "head_bucket", "create_bucket"}
    assert set(re.findall(r"airflow\.providers\.amazon\.aws\.(\w+\.\w+)", code)) == {
        "hooks.s3",
        "notifications.sns",
        "secrets.secrets_manager",
    }
