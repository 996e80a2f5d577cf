"""Leaks to plant: what people get wrong when they write features, each as an edit of the dbt project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HISTORY = "models/intermediate/flight_delays/int_flight_delays__history.sql"
FEATURES = "models/marts/use_cases/flight_delays/flight_delays__features.sql"
LABELS = "models/marts/use_cases/flight_delays/flight_delays__labels.sql"
ACTUALS = "models/staging/flights/stg_flights__actuals.sql"
WEATHER = "models/staging/flights/stg_flights__weather.sql"
MINUTES = "macros/minute_of_day.sql"

THROUGH_THE_DAY_BEFORE = "date_sub(wanted.flight_date, 28) and date_sub(wanted.flight_date, 1)"
ARRIVED = "        and wanted.flight_date > daily.ingestion_date\n"
OBSERVED = "where flight_date between {{ night('from', -27) }} and {{ night('to') }}"
FLIGHTS = "from flights\ninner join history"
LABEL_JOINED = (
    "from flights\n"
    "left join {{ ref('fct_flights') }} as outcome on flights.flight_id = outcome.flight_id\n"
    "inner join history"
)


@dataclass(frozen=True)
class Bug:
    """``edits`` are texts of a file and what to put in their place; ``silver`` where staging has to be built again."""

    name: str
    edits: tuple[tuple[str, str, str], ...]
    silver: bool = False

    def plant(self, project: Path) -> dict[Path, str]:
        """Edit the files of ``project``. Returns them as they were. Raises ValueError where a text is not there."""
        before: dict[Path, str] = {}
        for file, old, new in self.edits:
            path = project / file
            text = path.read_text()
            before.setdefault(path, text)
            if old not in text:
                raise ValueError(f"{self.name}: {file} has changed and no longer holds {old!r}")
            path.write_text(text.replace(old, new))
        return before


BUGS = (
    Bug(
        "the look-back includes the day itself",
        (
            (HISTORY, THROUGH_THE_DAY_BEFORE, "date_sub(wanted.flight_date, 27) and wanted.flight_date"),
            (HISTORY, ARRIVED, "        and wanted.flight_date >= daily.ingestion_date\n"),
            (HISTORY, OBSERVED, OBSERVED.replace("night('to')", "night('to', 1)")),
        ),
    ),
    Bug("when a row arrived is ignored", ((HISTORY, ARRIVED, ""),)),
    Bug(
        "a row counts the night before it arrived",
        ((HISTORY, "flight_date > daily.ingestion_date", "flight_date >= daily.ingestion_date"),),
    ),
    Bug(
        "the look-back is a day too long",
        (
            (HISTORY, "date_sub(wanted.flight_date, 28)", "date_sub(wanted.flight_date, 29)"),
            (HISTORY, "night('from', -27)", "night('from', -28)"),
        ),
    ),
    Bug("each window is a day too long", ((HISTORY, '" ~ days ~ ")"', '" ~ (days + 1) ~ ")"'),)),
    Bug(
        "aggregates over the whole year",
        (
            (HISTORY, f"    {OBSERVED}\n", ""),
            (HISTORY, f"        and daily.flight_date between {THROUGH_THE_DAY_BEFORE}\n", ""),
            (HISTORY, ARRIVED, ""),
        ),
    ),
    Bug(
        "gaps are filled with the mean of all flights, later ones too",
        (
            (
                FEATURES,
                "    history.aircraft_flights_28d,",
                "    coalesce(nullif(history.aircraft_flights_28d, 0),"
                " (select count(*) div 100 from {{ ref('fct_flights') }})) as aircraft_flights_28d,",
            ),
        ),
    ),
    Bug(
        "cancellations of the day itself",
        (
            (HISTORY, "daily.flight_date = date_sub(wanted.flight_date, 1)", "daily.flight_date = wanted.flight_date"),
            (HISTORY, THROUGH_THE_DAY_BEFORE, "date_sub(wanted.flight_date, 28) and wanted.flight_date"),
            (HISTORY, ARRIVED, "        and wanted.flight_date >= daily.ingestion_date\n"),
            (HISTORY, OBSERVED, OBSERVED.replace("night('to')", "night('to', 1)")),
        ),
    ),
    Bug(
        "the label joined in",
        (
            (FEATURES, FLIGHTS, LABEL_JOINED),
            (
                FEATURES,
                "    history.flight_number_flights_28d,",
                "    history.flight_number_flights_28d + cast(coalesce(outcome.is_disrupted, false) as int)"
                " as flight_number_flights_28d,",
            ),
        ),
    ),
    Bug(
        "the departure that was flown, not the one planned",
        (
            (FEATURES, FLIGHTS, LABEL_JOINED),
            (
                FEATURES,
                "    flights.sched_dep_minute,",
                "    cast(flights.sched_dep_minute + coalesce(outcome.dep_delay_minutes, 0) as int)"
                " as sched_dep_minute,",
            ),
        ),
    ),
    Bug(
        "the aircraft that flew, not the one planned",
        (
            (
                HISTORY,
                "    from {{ ref('int_flight_delays__population') }}\n",
                "    from (\n"
                "        select planned.* except (aircraft), coalesce(outcome.aircraft, planned.aircraft) as aircraft\n"
                "        from {{ ref('int_flight_delays__population') }} as planned\n"
                "        left join {{ ref('fct_flights') }} as outcome on planned.flight_id = outcome.flight_id\n"
                "    )\n",
            ),
        ),
    ),
    Bug(
        "a flight that was announced later is predicted",
        (
            (
                HISTORY,
                "    where {{ in_nights('flight_date') }} and ingestion_date < flight_date\n",
                "    where {{ in_nights('flight_date') }}\n",
            ),
            (
                FEATURES,
                "where {{ in_nights('flight_date') }} and ingestion_date < flight_date\n",
                "where {{ in_nights('flight_date') }}\n",
            ),
        ),
    ),
    Bug(
        "the newest register, whatever the day",
        ((FEATURES, "on flight_dates.flight_date > snapshot_dates.snapshot_date", "on true"),),
    ),
    Bug(
        "the register of the day itself",
        ((FEATURES, "flight_date > snapshot_dates", "flight_date >= snapshot_dates"),),
    ),
    Bug(
        "the weather of the day itself",
        (
            (FEATURES, "date_add(weather_date, 1) as flight_date", "weather_date as flight_date"),
            (FEATURES, "{{ night('from') }} and {{ night('to') }}", "{{ night('from', 1) }} and {{ night('to', 1) }}"),
        ),
    ),
    Bug("when an observation arrived is ignored", ((FEATURES, " and ingestion_date <= weather_date\n", "\n"),)),
    Bug(
        "an observation counts the night before it arrived",
        ((FEATURES, "ingestion_date <= weather_date", "ingestion_date <= date_add(weather_date, 1)"),),
    ),
    Bug(
        "the row says that it was known when its register was",
        (
            (
                FEATURES,
                "greatest(flights.ingestion_date, history.known_from, weather.known_from, aircraft.snapshot_date)",
                "aircraft.snapshot_date",
            ),
        ),
    ),
    Bug(
        "a label is said to be known before it arrived",
        ((LABELS, "    ingestion_date,\n", "    flight_date as ingestion_date,\n"),),
    ),
    Bug(
        "staging forgets when a row arrived",
        ((ACTUALS, "    ingestion_date\n", "    flight_date as ingestion_date\n"),),
        silver=True,
    ),
    Bug(
        "the day of an observation is UTC's",
        (
            (WEATHER, "    weather_date,\n", "    to_date(observed_at) as weather_date,\n"),
            (WEATHER, "where partition_day = weather_date\n", ""),
        ),
        silver=True,
    ),
    Bug("midnight is an hour of its own", ((MINUTES, "div 100 % 24", "div 100"),), silver=True),
)
