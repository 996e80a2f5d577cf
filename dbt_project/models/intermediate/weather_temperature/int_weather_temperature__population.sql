{#
  The days to predict of each airport: every day in whose 7 days before it reported its weather. It is known from the
  night in which the first of these reports arrived.
#}
with reports as (
    select distinct
        origin,
        weather_date,
        ingestion_date
    from {{ ref('fct_weather_hourly') }}
    where weather_date between {{ night('from', -6) }} and {{ night('to') }}
),

ahead as (
    select explode(sequence(1, 7)) as days_ahead
)

select
    reports.origin,
    date_add(reports.weather_date, ahead.days_ahead) as weather_date,
    min(reports.ingestion_date) as ingestion_date
from reports
cross join ahead
group by reports.origin, date_add(reports.weather_date, ahead.days_ahead)
