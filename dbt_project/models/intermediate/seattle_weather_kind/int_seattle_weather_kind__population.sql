{#
  The days to predict of each station: every day in whose 7 days before it reported. It is known from the night in which
  the first of these reports arrived. Read are the reports that the days of a run can need, whatever came before.
#}
with reports as (
    select distinct
        station,
        weather_date,
        ingestion_date
    from {{ ref('fct_seattle_weather_daily') }}
    where weather_date between {{ night('from', -6) }} and {{ night('to') }}
),

ahead as (
    select explode(sequence(1, 7)) as days_ahead
)

select
    reports.station,
    date_add(reports.weather_date, ahead.days_ahead) as weather_date,
    min(reports.ingestion_date) as ingestion_date
from reports
cross join ahead
group by reports.station, date_add(reports.weather_date, ahead.days_ahead)
