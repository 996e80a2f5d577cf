"""The feature gate: what must hold for a day's features before anything is scored or trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.lake import candidate, dbt
from include.lake import spark as lake
from include.partitions import Partitions
from include.quality import gate
from include.use_cases import use_case
from include.use_cases.spec import Feature

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation


def suite(features: tuple[Feature, ...], rows: int) -> list[Expectation]:
    """The expectations for a candidate that should have ``rows`` rows: each flight of the schedule once."""
    from great_expectations import expectations as gxe

    expected: list[Expectation] = [
        gxe.ExpectTableRowCountToEqual(value=rows),
        gxe.ExpectColumnValuesToBeUnique(column="flight_id"),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="flight_date", column_B="known_from", ignore_row_if="neither"
        ),
    ]
    for feature in features:
        if not feature.nullable:
            expected.append(gxe.ExpectColumnValuesToNotBeNull(column=feature.name))
        if feature.low is not None or feature.high is not None:
            expected.append(
                gxe.ExpectColumnValuesToBeBetween(column=feature.name, min_value=feature.low, max_value=feature.high)
            )
    return expected


def audit(name: str, stage: str, nights: Partitions) -> None:
    """Check the features that ``stage`` has built for the use case ``name``. Raises GateFailedError naming columns."""
    spark = lake.session()
    case = use_case(name)
    days = nights.shift(case.horizon_days)
    scheduled = spark.sql(
        f"SELECT count(*) AS n FROM silver.fct_scheduled_flights "
        f"WHERE flight_date BETWEEN DATE'{days.first}' AND DATE'{days.last}'"
    ).collect()[0]["n"]
    table = f"gold.{case.features_table}"
    rows = candidate.read(spark, dbt.candidate_for(table, stage, nights))
    gate.check(table, nights.key, rows, suite(case.features, scheduled))
