"""What a spec may not say: names that would make one table of two."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from include.contracts.connectors import Bucket
from include.contracts.dialect import Dialect
from include.contracts.source import Column, Feed, Finished, Source, table

TRIPS = Feed("trips", "trips", (Column("number", "int", "which"),), key=("number",))
TOYS = Source("toys", "toys", "tests", "anybody", "0 0 * * *", 6, date(2020, 6, 1), (TRIPS,))


@pytest.mark.parametrize("name", ["completeness", "trips"])
def test_a_feed_that_would_share_a_table_is_refused(name: str) -> None:
    """The counts of a source are in a table of their own, which a feed of that name would write to."""
    with pytest.raises(ValueError, match=f"source toys: .* named {name}"):
        replace(TOYS, feeds=(TRIPS, replace(TRIPS, name=name)))


@pytest.mark.parametrize(
    ("spec", "given", "why"),
    [
        (TRIPS, {"key": ("number")}, "feed trips: key is 'number' and no tuple"),
        (TRIPS, {"columns": (TRIPS.columns[0])}, "feed trips: columns is Column and no tuple"),
        (TRIPS.columns[0], {"values": ("new")}, "column number: values is 'new' and no tuple"),
        (TOYS, {"feeds": (TRIPS)}, "source toys: feeds is Feed and no tuple"),
    ],
)
def test_a_forgotten_comma_is_found_where_it_was_forgotten(spec: Any, given: dict[str, Any], why: str) -> None:
    """The text would be taken for a tuple of its letters, and the error come much later."""
    with pytest.raises(ValueError, match=why):
        replace(spec, **given)


@pytest.mark.parametrize("name", ["trips__quarantine", "trips_", "_trips", "Trips", "trips day", "1", "", "trips/x"])
def test_a_name_must_tell_source_and_feed_apart(name: str) -> None:
    """Or feed b__c of source a, and feed c of source a__b, would be one table."""
    with pytest.raises(ValueError, match="a name is small letters"):
        replace(TRIPS, name=name)
    with pytest.raises(ValueError, match="a name is small letters"):
        replace(TOYS, name=name)
    assert table(TOYS, TRIPS) == "toys__trips"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"encoding": "utf-9"}, "is no encoding of text"),
        ({"encoding": "rot13"}, "is no encoding of text"),
        ({"encoding": "ascii", "delimiter": "¬"}, "cannot be written in ascii"),
        ({"delimiter": ""}, "the delimiter is empty"),
        ({"delimiter": "\r"}, "cannot have the end of a line"),
        ({"delimiter": '"'}, "cannot be told apart"),
        ({"quote": "''"}, "quote is one sign"),
        ({"escape": ""}, "how is a quote written within quotes"),
        ({"begins_after": "("}, "begins_after is no pattern"),
        ({"header": -1}, "fewer than 0 lines"),
        ({"decimal": ",", "thousands": ","}, "beside the decimal mark"),
        ({"true": ("1",), "false": ("1", "0")}, "said to be true and to be false"),
    ],
)
def test_a_dialect_that_fits_no_file_is_refused_when_the_spec_is_read(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Dialect(**said)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("%d.%m.", "does not say the year"),
        ("%Y-%m", "does not say the day and the month"),
        ("%d.%m.%Y %Q", "%Q in"),
        ("%Y %Y-%m-%d", "says something twice"),
        ("%s", "is a moment and no date"),
    ],
)
def test_a_pattern_that_says_no_day_is_refused_when_the_spec_is_read(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Column("day", "date", "", pattern=pattern)


def test_what_a_connector_brings_is_not_waited_for_once_more() -> None:
    with pytest.raises(ValueError, match="whole when it is there"):
        replace(TRIPS, connector=Bucket("lake", "bucket", "{day}.csv"), finished=Finished.MARKED)
