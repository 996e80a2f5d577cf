"""MLflow's server with its login, and with one lock more: who may make experiments and models.

MLflow lets everybody make them who may log in, and gives whoever made one all rights on it: somebody who only reads
could make the model of a use case before its first training does, and name its champion ever after.
"""

from __future__ import annotations

from typing import Any

from include.core.roles import SCIENTIST

EXPERIMENT, MODEL = "/mlflow/experiments/create", "/mlflow/registered-models/create"


def create_app() -> Any:
    """The application that uvicorn serves. Administrators pass every lock: MLflow asks none of these for them."""
    from mlflow.server import auth

    locks = {EXPERIMENT: is_scientist, MODEL: is_nobody}
    locked = [key for key in auth.BEFORE_REQUEST_VALIDATORS if key[0].endswith(tuple(locks))]
    if len({path.rpartition("/mlflow/")[2] for path, _ in locked}) != len(locks):
        raise RuntimeError(f"this MLflow has no {EXPERIMENT} or {MODEL} to lock")
    for path, method in locked:
        lock = next(lock for end, lock in locks.items() if path.endswith(end))
        auth.BEFORE_REQUEST_VALIDATORS[path, method] = lock
    return auth.create_app()


def is_nobody() -> bool:
    """Models are made by trainings, which log in as the platform."""
    return False


def is_scientist() -> bool:
    """Whether who asks has the role."""
    from mlflow.server import auth

    asked_by = auth.authenticate_request()
    name = getattr(asked_by, "username", None)  # it is an answer, and no login, where nobody has logged in
    if name is None:
        return False
    user = auth.store.get_user(name)
    return any(role.name == SCIENTIST for role in auth.store.list_user_roles(user.id))
