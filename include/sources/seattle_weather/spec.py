"""The source ``seattle_weather``: what the weather was in Seattle, a row a day, 2012 to 2015."""

from datetime import date

from include.contracts.source import Column, Feed, Source

KINDS = ("drizzle", "fog", "rain", "snow", "sun")

DAILY = Feed(
    name="daily",
    description="The weather of a day at Seattle's airport",
    columns=(
        Column("weather_date", "date", "the day", required=True, source_name="date", pattern="%Y/%m/%d"),
        Column("precipitation", "double", "rain and melted snow", "millimetre", required=True, minimum=0, maximum=500),
        Column("temp_max", "double", "highest temperature", "degree Celsius", required=True, minimum=-40, maximum=50),
        Column("temp_min", "double", "lowest temperature", "degree Celsius", required=True, minimum=-40, maximum=50),
        Column("wind", "double", "mean wind", "metre per second", required=True, minimum=0, maximum=80),
        Column("weather", "string", "the kind of weather", required=True, values=KINDS),
    ),
    key=("weather_date",),
    day_column="weather_date",
    retention_days=0,  # a row a day: years of it are smaller than one day of flights
)

SOURCE = Source(
    name="seattle_weather",
    description="Daily weather in Seattle, with its kind",
    owner="data-platform",
    access="public: `seattle-weather.csv` of the package `vega_datasets` (MIT), from public-domain data of NOAA",
    schedule="0 0 * * *",
    timezone="America/Los_Angeles",
    freshness_hours=6,
    first_day=date(2012, 1, 1),
    feeds=(DAILY,),
)
