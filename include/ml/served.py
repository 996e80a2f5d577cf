"""A version as MLflow serves it: rows of the features table in, the platform's own predictions out.

MLflow keeps this file with each version and runs it where the version is loaded (models from code), so that no pickle
is ever made or read, and the encoding travels with the model. It imports nothing of ours: whoever loads a version has
MLflow, XGBoost and pandas. ``tests/ml/test_served.py`` holds its predictions to those of ``include.ml.scoring``.
"""

import json
import re
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import xgboost as xgb
from mlflow.pyfunc.model import PythonModel


class Version(PythonModel):
    """Encodes each column as it was encoded in training, and names what comes out as the predictions table does."""

    def load_context(self, context: Any) -> None:
        self.booster = xgb.Booster(model_file=context.artifacts["model"])
        self.booster.set_param({"device": "cpu"})
        reference = json.loads(Path(context.artifacts["reference"]).read_text())
        self.inputs, self.task = reference["inputs"], reference["task"]

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        values = np.column_stack([_encoded(one, model_input[one["name"]]) for one in self.inputs])
        rows = xgb.DMatrix(
            values,
            feature_names=[one["name"] for one in self.inputs],
            feature_types=["c" if one["kind"] == "categorical" else "q" for one in self.inputs],
            enable_categorical=True,
        )
        return _frame(self.task, self.booster.predict(rows))


def _encoded(one: dict[str, Any], column: pd.Series) -> Any:
    """A column as 32-bit floats: a category by its code, where an unknown one, and none, has the last; none is NaN."""
    if one["kind"] == "categorical":
        codes = {level: code for code, level in enumerate(one["levels"])}
        return np.array([codes.get(value, len(codes) - 1) for value in column.astype(object)], dtype=np.float32)
    return pd.to_numeric(column).astype(np.float32).to_numpy()


def _frame(task: dict[str, Any], output: Any) -> pd.DataFrame:
    """What the booster gives, as the columns of the predictions table."""
    if task["kind"] == "binary":
        return pd.DataFrame({"score": output.astype(np.float64)})
    if task["kind"] == "multiclass":
        scores = output.astype(np.float64)
        scores /= scores.sum(axis=1, keepdims=True)
        names = [re.sub(r"\W+", "_", one.strip().lower()).strip("_") or "_" for one in task["classes"]]
        predicted = np.asarray(task["classes"], dtype=object)[scores.argmax(axis=1)]
        return pd.DataFrame({"predicted": predicted} | {f"score_{one}": scores[:, n] for n, one in enumerate(names)})
    quantiles = task.get("quantiles") or [0.5]
    scores = np.sort(output.astype(np.float64).reshape(len(output), -1), axis=1)
    middle = quantiles.index(0.5)
    others = {f"q{100 * at:.10g}".replace(".", "_"): scores[:, n] for n, at in enumerate(quantiles) if n != middle}
    return pd.DataFrame({"predicted": scores[:, middle]} | others)


mlflow.models.set_model(Version())
