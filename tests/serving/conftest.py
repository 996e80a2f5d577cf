"""Scoring is tested on the lake and the models that the tests of training make."""

from tests.ml.conftest import deployed, lake, mlflow_store, toy

__all__ = ["deployed", "lake", "mlflow_store", "toy"]
