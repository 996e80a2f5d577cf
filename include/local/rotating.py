"""Rotate a secret that the set-up has made: a new value takes the place of the old one, for all who use it.

The new value is written beside the one that counts, in ``<name>.next``, and the old one is kept in ``<name>.before``,
before anything else is changed. Whoever uses the secret is stopped meanwhile: nobody shows the old one to who knows the
new one. ``<name>.next`` says that a rotation is under way. A kill at any step is followed by the same command, which
goes on with the same new value and ends as one without a kill; the services that it has left stopped, ``make up``
starts as well, and they work with what is written by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import httpx

from include.core.errors import BadRequestError, NeedsAttentionError
from include.core.settings import CELERY, ENVIRONMENT, FILES, MLFLOW_USER, SIMPLE, NotSetUpError, Settings
from include.lake import audit
from include.local import control, shared
from include.local.credentials import SECRETS, write_passwords, write_private
from include.local.environment import FERNET_KEY, JWT_SECRET, METRICS_TOKEN, SPARK_TOKEN
from include.local.programs import Program, program, programs
from include.local.setup import exclusive
from include.local.supervisor import Supervisor

Progress = Callable[[str], None]
USERS = "/api/2.0/mlflow/users"
SECONDS = 60.0
"""So long an answer of MLflow may take: it hashes a password slowly, on purpose."""
TASKS = {"scheduler", "worker"}
"""The services whose stop ends the tasks that run."""


class RotationError(NeedsAttentionError):
    """A secret could not be rotated. The message says what counts now, and what to do."""


@dataclass(frozen=True)
class Kind:
    """What is to be known of a secret.

    Attributes:
        use: what it is for.
        of: whose it is: ``airflow``, ``mlflow`` or ``spark``.
        variables: under which it is in the environment of those who use it.
        people: what people have to do, and programs that are not ours.
        step: what is done besides writing it.
        elsewhere: what is to be done besides a restart where somebody else keeps it; it begins with a blank.
    """

    use: str
    of: str
    variables: frozenset[str]
    people: str
    step: str = ""
    elsewhere: str = ""


@dataclass(frozen=True)
class Rotation:
    """A rotation under way: both values, when it began, and the files."""

    name: str
    old: str
    new: str
    begun: datetime
    file: Path


KINDS = {
    "fernet_key": Kind(
        "Airflow encrypts connections, variables and what triggers are told with it",
        "airflow",
        frozenset({FERNET_KEY}),
        "a backup that was made before is restored with the old key, which it holds itself",
        "Airflow encrypts all of them anew (`airflow rotate-fernet-key`), with both keys at hand, in one transaction",
        " Give `<new>,<old>` first and restart, then `nocturne exec -- airflow rotate-fernet-key`, then the new one "
        "alone and restart again.",
    ),
    "jwt_secret": Kind(
        "Airflow signs logins with it, and what a task shows to the api-server",
        "airflow",
        frozenset({JWT_SECRET}),
        "everybody logs in to Airflow again; tokens that programs have got from Airflow's API are void",
    ),
    "api_secret_key": Kind(
        "Airflow signs the sessions of browsers with it",
        "airflow",
        frozenset({"AIRFLOW__API__SECRET_KEY"}),
        "whoever is logged in to Airflow may have to log in again",
    ),
    "airflow_admin_password": Kind(
        "admin logs in to Airflow with it",
        "airflow",
        frozenset(),
        "whoever logs in as admin takes the new one: cat var/secrets/airflow_admin_password",
        "Airflow is told of it",
        " `nocturne init` tells Airflow's database of it.",
    ),
    "mlflow_admin_password": Kind(
        "the platform and admin log in to MLflow with it",
        "mlflow",
        frozenset({"MLFLOW_TRACKING_PASSWORD"}),
        "whoever logs in to MLflow as admin takes the new one: cat var/secrets/mlflow_admin_password",
        "MLflow changes it in its database, by its API; MLflow has to run, and stays up",
        " `nocturne init` changes it in MLflow's PostgreSQL: run that first.",
    ),
    "mlflow_secret_key": Kind(
        "MLflow signs the forms of its pages with it",
        "mlflow",
        frozenset({"MLFLOW_FLASK_SERVER_SECRET_KEY"}),
        "a page of MLflow's that is open has to be loaded again",
    ),
    "spark_token": Kind(
        "who shows it may have Spark Connect do something",
        "spark",
        frozenset({SPARK_TOKEN, "SPARK_REMOTE"}),
        "a shell of `./nocturne exec`, a notebook and any other client of Spark is started again",
    ),
    "metrics_token": Kind(
        "Prometheus shows it to the page of metrics",
        "airflow",
        frozenset({METRICS_TOKEN}),
        "give Prometheus the new one, or its scrapes get 403: cat var/secrets/metrics_token",
    ),
}
REFUSED = {
    "pseudonym_key": (
        "pseudonym_key is not rotated: pseudonyms are made with it. The same person would have another one from that "
        "day on, which joins neither with the history nor with what others were given. Where somebody has seen it: set "
        "up a second installation (NOCTURNE_VAR), which has a key of its own, load the history from landing there, and "
        "remove this one: docs/rotate-secrets.md"
    )
}


def kind_of(name: str) -> Kind:
    """What is known of the secret ``name``. Raises BadRequestError for one that is none, or must stay."""
    if name in REFUSED:
        raise BadRequestError(REFUSED[name])
    if name not in KINDS:
        raise BadRequestError(f"{name!r} is no secret that can be rotated: there are {', '.join(KINDS)}")
    return KINDS[name]


def check(settings: Settings, name: str) -> None:
    """Raise BadRequestError where ``name`` is not ours to rotate, and NotSetUpError where there is none yet."""
    kind = kind_of(name)
    if settings.secrets_backend != FILES or settings.given(name):
        raise BadRequestError(_kept_elsewhere(settings, name, kind))
    if remote := getattr(settings, f"{kind.of}_remote"):
        raise BadRequestError(f"{name} is of the service at {remote}: it is rotated in the installation that runs that")
    settings.secret(name)
    if name == "fernet_key" and not settings.given("airflow_db") and not settings.airflow_database.exists():
        raise NotSetUpError(f"{settings.airflow_database} is missing: run `make setup`")


def _kept_elsewhere(settings: Settings, name: str, kind: Kind) -> str:
    """The line for a secret that somebody else keeps."""
    kept = f"as NOCTURNE_{name.upper()}, a variable or a file of /run/secrets"
    if settings.secrets_backend not in (FILES, ENVIRONMENT):
        kept = f"by {settings.secrets_backend} as nocturne_{name}"
    every = ["api-server", "scheduler", "dag-processor", "triggerer", "mlflow", "spark"]
    every += ["worker"] if settings.executor == CELERY else []
    names = [one.name for one in _who_uses(settings, name, [program(settings, one) for one in every])]
    return (
        f"{name} is given {kept}, and is rotated where it is kept: change it there, and start again, in this order: "
        f"{', '.join(names) or 'nothing'}.{kind.elsewhere}"
    )


def _who_uses(settings: Settings, name: str, every: Sequence[Program]) -> list[Program]:
    """Those of ``every`` service that have to start again for a new value; the ones that others speak to first."""
    reads = {"api-server"} if name == "airflow_admin_password" and settings.identity == SIMPLE else set[str]()
    found = [one for one in every if one.secrets & KINDS[name].variables or one.name in reads]
    return sorted(found, key=lambda one: not one.url)


def services(settings: Settings, name: str) -> list[str]:
    """The services of this machine that start again for a new value of ``name``, in the order of their start."""
    return [one.name for one in _who_uses(settings, name, programs(settings))]


def plan(settings: Settings, name: str) -> list[str]:
    """What rotating ``name`` would do, in lines. Raises as ``check`` does."""
    check(settings, name)
    kind, names, file = KINDS[name], services(settings, name), settings.secrets / name
    lines = [f"{name}: {kind.use}"]
    if _next(file).exists():
        lines.append(f"a rotation of it was begun at {_begun(file):%Y-%m-%d %H:%M} UTC and did not end: this goes on")
    lines.append(f"would write {file}; the old value stays in {_before(file).name} until all is through")
    lines += [kind.step] if kind.step else []
    if not Supervisor(settings).is_up():
        lines.append("nothing runs: the services have it from their next start on")
    elif names:
        lines.append(f"would stop, and start again, in this order: {', '.join(names)}")
        lines += [TRIED_AGAIN] if TASKS & {*names} else []
    return [*lines, f"for people: {kind.people}"]


TRIED_AGAIN = (
    "a night that is under way is interrupted: Airflow tries its tasks again, as their retries say, and it ends as if "
    "nothing had been"
)


def rotate(settings: Settings, name: str, who: str, progress: Progress) -> None:
    """Have a new value of ``name`` take the place of the old one; ``who`` asks for it.

    Goes on with a rotation that was begun and did not end. Raises as ``check`` does, and RotationError or
    InstallationError where a step fails: the services run then with what is written, and the same again goes on.
    """
    check(settings, name)
    control.check_settings(settings)
    if name == "mlflow_admin_password":
        _require_mlflow(settings)
    with exclusive(settings):
        one, names = begin(settings, name, progress), services(settings, name)
        with _stopped(settings, names, progress) as restarted:
            CHANGES.get(name, _write)(settings, one, progress)
        _finish(one, who, restarted)


def begin(settings: Settings, name: str, progress: Progress) -> Rotation:
    """The rotation of ``name`` that is under way, or a new one."""
    file = settings.secrets / name
    if _next(file).exists():
        progress(f"a rotation of {name} was begun at {_begun(file):%Y-%m-%d %H:%M} UTC: going on with it")
    else:
        write_private(_before(file), settings.secret(name) + "\n")
        write_private(_next(file), SECRETS[name]() + "\n")  # from here on it is under way
    old = _before(file).read_text().strip() if _before(file).exists() else ""
    return Rotation(name, old, _next(file).read_text().strip(), _begun(file), file)


def _finish(one: Rotation, who: str, restarted: Sequence[str]) -> None:
    """Write it down, and forget the old value. The line is the same, and is there once, whoever ends a rotation."""
    event = uuid5(NAMESPACE_URL, f"rotation {one.name} {one.begun.timestamp()}").hex
    detail = f"restarted: {', '.join(restarted)}" if restarted else "nothing ran that uses it"
    audit.write([audit.Entry("rotation", one.name, who, detail, one.begun, event)])
    _next(one.file).unlink(missing_ok=True)
    _before(one.file).unlink(missing_ok=True)


@contextmanager
def _stopped(settings: Settings, names: Sequence[str], progress: Progress) -> Iterator[list[str]]:
    """While this lasts, the services ``names`` are stopped; then they start, in this order, and all become healthy.

    Gives those that it stops: none where nothing runs.
    """
    supervisor = Supervisor(settings)
    if not names or not supervisor.is_up():
        yield []
        return
    progress(f"stopping {', '.join(reversed(names))}")
    for name in reversed(names):
        supervisor.stop_service(name)
    try:
        yield [*names]
    finally:
        progress(f"starting {', '.join(names)}")
        for name in names:
            supervisor.start_service(name)
    control.wait_healthy(settings, progress, control.START_SECONDS)


# --- what is changed, by secret ---


def _write(settings: Settings, one: Rotation, progress: Progress) -> None:
    """Have the new value be the one that counts."""
    del settings
    progress(f"writing {one.file}")
    write_private(one.file, one.new + "\n")


def _fernet_key(settings: Settings, one: Rotation, progress: Progress) -> None:
    """Have Airflow encrypt all anew. With both keys it reads what either has encrypted, and writes with the first."""
    keys = settings.secret(one.name).split(",")
    if keys == [one.new]:
        return
    if one.new not in keys:
        write_private(one.file, ",".join([one.new, *keys]) + "\n")
    progress("Airflow encrypts connections, variables and triggers anew")
    shared.airflow(settings, ["rotate-fernet-key"])
    _write(settings, one, progress)


def _airflow_admin_password(settings: Settings, one: Rotation, progress: Progress) -> None:
    """Tell Airflow of it, in the file or in the database where it has its accounts."""
    from include.local import accounts

    _write(settings, one, progress)
    write_passwords(settings)
    accounts.sync(settings, progress)


def _mlflow_admin_password(settings: Settings, one: Rotation, progress: Progress) -> None:
    """Change it in MLflow's database, where that has not been done, and only then in the file."""
    if not _lets_in(settings, one.new):
        progress("MLflow changes the password of admin")
        _change_at_mlflow(settings, one)
    _write(settings, one, progress)


def _change_at_mlflow(settings: Settings, one: Rotation) -> None:
    """Raises RotationError where MLflow does not."""
    wanted = {"username": MLFLOW_USER, "password": one.new, "current_password": one.old}
    url, login = f"{settings.mlflow_url}{USERS}/update-password", (MLFLOW_USER, one.old)
    answer = httpx.patch(url, json=wanted, auth=login, timeout=SECONDS)
    if answer.is_error:
        raise RotationError(
            f"MLflow at {settings.mlflow_url} takes neither the old nor the new password of {MLFLOW_USER} "
            f"(HTTP {answer.status_code}): somebody has changed it there. Write the one that it takes into {one.file}, "
            f"remove {_next(one.file)}, and rotate again"
        )


def _lets_in(settings: Settings, password: str) -> bool:
    """Whether MLflow takes ``password`` for its administrator's."""
    asked = {"username": MLFLOW_USER}
    answer = httpx.get(f"{settings.mlflow_url}{USERS}/get", params=asked, auth=(MLFLOW_USER, password), timeout=SECONDS)
    return answer.is_success


def _require_mlflow(settings: Settings) -> None:
    """Raise RotationError unless MLflow answers: nothing was changed then."""
    try:
        httpx.get(f"{settings.mlflow_url}/health", timeout=SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        raise RotationError(
            f"MLflow at {settings.mlflow_url} does not answer ({error}), and it has to change the password in its "
            "database: `make up`, and rotate again. Nothing was changed"
        ) from None


CHANGES: dict[str, Callable[[Settings, Rotation, Progress], None]] = {
    "fernet_key": _fernet_key,
    "airflow_admin_password": _airflow_admin_password,
    "mlflow_admin_password": _mlflow_admin_password,
}
"""What is done where it is more than to write the new value."""


# --- the files beside a secret ---


def _next(file: Path) -> Path:
    return file.with_name(f"{file.name}.next")


def _before(file: Path) -> Path:
    return file.with_name(f"{file.name}.before")


def _begun(file: Path) -> datetime:
    return datetime.fromtimestamp(_next(file).stat().st_mtime, UTC)
