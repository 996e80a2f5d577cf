"""No personal column of a source reaches gold as it is: read off the SQL of the dbt project."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from include.contracts.source import Pii, Source
from include.lake.columns import Columns
from include.quality.privacy import leaks
from include.sources import sources


def with_personal(*names: str) -> Iterable[Source]:
    """The sources, with these columns, as feed.column, classed as personal."""
    for source in sources().values():
        feeds = [
            replace(
                feed,
                columns=tuple(
                    replace(column, pii=Pii.PERSONAL) if f"{feed.name}.{column.name}" in names else column
                    for column in feed.columns
                ),
            )
            for feed in source.feeds
        ]
        yield replace(source, feeds=tuple(feeds))


def test_nothing_personal_reaches_gold(dbt_columns: Columns) -> None:
    assert leaks(dbt_columns, sources().values()) == {}


def test_there_is_something_to_look_at(dbt_columns: Columns) -> None:
    """Every column of gold is found, and nearly all of them are made of something."""
    gold = [model for model, layer in dbt_columns.layers.items() if layer == "gold"]
    assert {"flight_delays__features", "flight_delays__labels"} <= set(gold)
    assert all(dbt_columns.sources_of("flight_delays__labels", one) for one in dbt_columns.of("flight_delays__labels"))


@pytest.mark.parametrize(
    ("personal", "found"),
    [
        # as it is, through `select *`; and in an expression
        ("schedule.carrier", {"flight_delays__features.carrier", "flight_delays__features.flight_id"}),
        # in an expression
        ("planes.built_year", {"flight_delays__features.aircraft_age_years"}),
        # only joins and groups: no value of it comes out
        ("schedule.aircraft", set()),
        ("actuals.aircraft", set()),
        # is not read
        ("weather.dewp", set()),
    ],
)
def test_where_a_column_would_slip_through_if_it_were_personal(
    dbt_columns: Columns, personal: str, found: set[str]
) -> None:
    assert set(leaks(dbt_columns, with_personal(personal))) == found


def test_a_leak_is_named_with_where_it_comes_from(dbt_columns: Columns) -> None:
    """A condition three models away, of which a loop in Jinja makes a column for each kind and window."""
    found = leaks(dbt_columns, with_personal("actuals.dep_time", "actuals.arr_delay"))
    both = ["flights.actuals.arr_delay", "flights.actuals.dep_time"]
    assert found["flight_delays__labels.is_disrupted"] == both
    assert found["flight_delays__features.origin_hour_disrupted_rate_28d"] == both
    assert found["flight_delays__features.network_cancelled_rate_1d"] == ["flights.actuals.dep_time"]
