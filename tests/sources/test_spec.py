"""What a spec may not say: names that would make one table of two."""

from dataclasses import replace
from datetime import date

import pytest

from include.sources.spec import Column, Feed, Source, table

TRIPS = Feed("trips", "trips", (Column("number", "int", "which"),), key=("number",))
TOYS = Source("toys", "toys", "tests", "anybody", "0 0 * * *", 6, date(2020, 6, 1), (TRIPS,))


@pytest.mark.parametrize("name", ["completeness", "trips"])
def test_a_feed_that_would_share_a_table_is_refused(name: str) -> None:
    """The counts of a source are in a table of their own, which a feed of that name would write to."""
    with pytest.raises(ValueError, match=f"source toys: .* named {name}"):
        replace(TOYS, feeds=(TRIPS, replace(TRIPS, name=name)))


@pytest.mark.parametrize("name", ["trips__quarantine", "trips_", "_trips", "Trips", "trips day", "1", "", "trips/x"])
def test_a_name_must_tell_source_and_feed_apart(name: str) -> None:
    """Or feed b__c of source a, and feed c of source a__b, would be one table."""
    with pytest.raises(ValueError, match="a name is small letters"):
        replace(TRIPS, name=name)
    with pytest.raises(ValueError, match="a name is small letters"):
        replace(TOYS, name=name)
    assert table(TOYS, TRIPS) == "toys__trips"
