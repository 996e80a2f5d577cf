{{ config(meta={'day': 'weather_date'}) }}

with hours as (
    select
        origin,
        weather_date,
        ingestion_date,
        temp_f
    from {{ ref('fct_weather_hourly') }}
    where temp_f is not null and ({{ in_nights('weather_date') }} or {{ in_nights('date_add(weather_date, 1)') }})
),

of_day as (
    select
        origin,
        weather_date,
        max(ingestion_date) as ingestion_date, -- an hour that came late has changed the mean
        round(avg(temp_f), 4) as temp_mean
    from hours
    group by origin, weather_date
),

-- As it was known the evening before: the feature `temp_mean_f_1d`, which a prediction is added to.
of_day_before as (
    select
        origin,
        date_add(weather_date, 1) as weather_date,
        round(avg(temp_f), 4) as temp_mean
    from hours
    where ingestion_date <= weather_date
    group by origin, date_add(weather_date, 1)
)

select
    of_day.origin,
    of_day.weather_date,
    of_day.ingestion_date,
    round(of_day.temp_mean - of_day_before.temp_mean, 4) as temp_change_f
from of_day
inner join of_day_before on of_day.origin = of_day_before.origin and of_day.weather_date = of_day_before.weather_date
where {{ in_nights('of_day.weather_date') }}
