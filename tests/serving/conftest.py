"""Scoring is tested on the lake and the models that the tests of training make."""

from tests.ml.conftest import deployed, empty_mlflow, lake, mlflow_store, toy, world

__all__ = ["deployed", "empty_mlflow", "lake", "mlflow_store", "toy", "world"]
