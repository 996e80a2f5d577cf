"""The clock that starts the nights: in no time zone is a day lost, doubled, or begun before it has ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pendulum
import pytest
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable

from include.orchestration import defaults
from include.sources import source

YEAR = datetime.now(UTC).year
DAYS = [date(YEAR, 1, 1) + timedelta(n) for n in range(365)]

# Ones that change their clocks at midnight, by half an hour, in the other half of the year, during a month, or never.
ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Tokyo",
    "Asia/Beirut",
    "Africa/Cairo",
    "America/Havana",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Africa/Casablanca",
    "Pacific/Kiritimati",
    "Asia/Kathmandu",
)


@pytest.mark.parametrize("zone", ZONES)
def test_every_day_has_one_night_and_a_backfill_hits_it(zone: str) -> None:
    here = replace(source("flights"), timezone=zone)
    nightly = decode_timetable(encode_timetable(defaults.nightly(here)))  # as the scheduler has it
    first, last = (datetime.combine(day, datetime.min.time(), UTC) for day in (DAYS[0], DAYS[-1]))
    backfilled = nightly.iter_partition_dagrun_infos(earliest=first, latest=last)
    assert [info.partition_key for info in backfilled] == [str(day) for day in DAYS]
    tick, nights = nightly._align_to_next(pendulum.instance(first + timedelta(hours=36))), []
    while len(nights) < len(DAYS):
        night = date.fromisoformat(nightly._get_partition_info(run_date=tick)[1])
        late = tick - here.ends(night)
        assert timedelta(0) <= late <= timedelta(hours=1), f"{night} is started at {tick}"
        nights.append(night)
        tick = nightly._get_next(tick)
    assert nights == [nights[0] + timedelta(n) for n in range(len(nights))]


def test_a_business_day_ends_where_the_source_is() -> None:
    new_york = source("flights")
    assert new_york.ends(date(2013, 6, 1)) == datetime(2013, 6, 2, 4, tzinfo=UTC)
    assert new_york.ends(date(2013, 12, 1)) == datetime(2013, 12, 2, 5, tzinfo=UTC)
    assert new_york.ends(date(2013, 6, 1)).astimezone(ZoneInfo("America/New_York")).hour == 0


@pytest.mark.parametrize("zone", ["Europe/Berln", "", "+02:00", "../etc/passwd"])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match=r"source flights: .* is no time zone: an IANA name"):
        replace(source("flights"), timezone=zone)
