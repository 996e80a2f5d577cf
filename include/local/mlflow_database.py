"""``python -m include.local.mlflow_database``: bring MLflow's PostgreSQL to its installed version, with its one login.

What ``mlflow db upgrade`` does, and the first start of its server. That command takes the address as an argument, and a
password among a program's arguments is everybody's to read.
"""

from mlflow.server.auth import create_admin_user, store
from mlflow.store.db import utils

from include.core.settings import MLFLOW_USER, settings


def main() -> None:
    url, password = settings().mlflow_connection, settings().secret("mlflow_admin_password")
    engine = utils.create_sqlalchemy_engine_with_retry(url)
    if utils._is_empty_database(engine):
        utils._initialize_tables(engine)
    else:
        utils._upgrade_db(engine)
    store.init_db(url)
    create_admin_user(MLFLOW_USER, password)
    if not store.authenticate_user(MLFLOW_USER, password):  # the one that is given is the one that counts
        store.update_user(MLFLOW_USER, password=password)


if __name__ == "__main__":
    main()
