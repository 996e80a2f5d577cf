"""A night on the real stack, with landing and the lake in S3."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pytest

from examples.replay import replay
from include.core.partitions import Partitions
from include.core.settings import Settings, settings
from include.lake import delta
from tests import s3
from tests.integration.conftest import Stack, started

pytestmark = [pytest.mark.integration, pytest.mark.full]

NIGHT = Partitions.parse("2013-01-01")  # the first: there is nothing to look back on
HEAD, FOLLOWER = "lakehouse_ingest_flights", "lakehouse_transform_flights"


@pytest.fixture(scope="module")
def on_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An installation of its own, beside the one of the other modules."""
    folder, port = tmp_path_factory.mktemp("on_s3"), s3.free_port()
    with s3.server(folder / "server", port, "nocturne"), pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment(port).items():
            patch.setenv(name, value)
        patch.setenv("NOCTURNE_VAR", str(folder / "var"))
        patch.setenv("NOCTURNE_LANDING_URI", "s3://nocturne/landing")
        patch.setenv("NOCTURNE_LAKE_URI", "s3://nocturne/lake")
        for service in ("AIRFLOW", "MLFLOW", "SPARK"):
            patch.setenv(f"NOCTURNE_{service}_PORT", str(s3.free_port()))
        settings.cache_clear()
        with started(Settings()) as running:
            yield running
    settings.cache_clear()


def test_a_night_goes_from_bucket_to_bucket(on_s3: Stack) -> None:
    replay(on_s3.settings.landing, NIGHT, with_dimensions=True)
    on_s3.airflow.wait_for_dags({HEAD, FOLLOWER})
    runs = on_s3.airflow.follow([on_s3.airflow.trigger(HEAD, NIGHT)])
    assert {run.dag_id for run in runs if run.state == "success"} >= {HEAD, FOLLOWER}
    rows = delta.read_all("bronze", "flights__actuals")
    assert rows.height == len(on_s3.landing("actuals", NIGHT.key).read_text().splitlines()) - 1
    flights = delta.read_all("silver", "fct_flights").filter(pl.col("flight_date") == NIGHT.first)
    assert flights.height == rows.height
    assert not (on_s3.settings.var / "lake").exists()
    assert not (on_s3.settings.var / "landing").exists()
