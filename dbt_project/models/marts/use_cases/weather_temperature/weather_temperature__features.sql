{{ config(meta={'day': 'weather_date', 'lead_days': 1}) }}

with days as (
    -- an airport of which nothing had arrived by the evening before could not be predicted
    select *
    from {{ ref('int_weather_temperature__population') }}
    where {{ in_nights('weather_date') }} and ingestion_date < weather_date
),

-- The hours that each row looks back on: of the 28 days before, where they had arrived by the evening before.
hours as (
    select
        days.origin,
        days.weather_date,
        datediff(days.weather_date, observed.weather_date) as days_ago,
        observed.ingestion_date,
        observed.observed_at,
        observed.temp_f,
        observed.humid_pct,
        observed.wind_mph,
        observed.pressure_mb
    from days
    inner join {{ ref('fct_weather_hourly') }} as observed
        on days.origin = observed.origin
        and observed.weather_date between date_sub(days.weather_date, 28) and date_sub(days.weather_date, 1)
        and days.weather_date > observed.ingestion_date
    where observed.weather_date between {{ night('from', -27) }} and {{ night('to') }}
),

-- Means are rounded, so that they do not depend on the order in which the hours are added.
looked_back as (
    select
        origin,
        weather_date,
        max(ingestion_date) as known_from,
        {% for days in (1, 3, 7, 28) -%}
        round(avg(case when days_ago <= {{ days }} then temp_f end), 4) as temp_mean_{{ days }}d,
        {% endfor -%}
        round(avg(case when days_ago = 2 then temp_f end), 4) as temp_mean_2_days_ago,
        max_by(temp_f, case when days_ago = 1 and temp_f is not null then observed_at end) as temp_last,
        max(case when days_ago = 1 then temp_f end) as temp_max,
        min(case when days_ago = 1 then temp_f end) as temp_min,
        round(avg(case when days_ago = 1 then pressure_mb end), 4) as pressure_mean,
        round(avg(case when days_ago = 2 then pressure_mb end), 4) as pressure_mean_2_days_ago,
        round(avg(case when days_ago = 1 then humid_pct end), 4) as humid_mean,
        round(avg(case when days_ago = 1 then wind_mph end), 4) as wind_mean
    from hours
    group by origin, weather_date
)

select
    days.origin,
    days.weather_date,
    greatest(days.ingestion_date, looked_back.known_from) as known_from,
    cast(0 as double) as no_change_f,
    looked_back.temp_mean_1d as temp_mean_f_1d,
    round(looked_back.temp_last - looked_back.temp_mean_1d, 4) as temp_last_gap_f_1d,
    round(looked_back.temp_max - looked_back.temp_min, 4) as temp_range_f_1d,
    round(looked_back.temp_mean_1d - looked_back.temp_mean_2_days_ago, 4) as temp_change_f_2d,
    {% for days in (3, 7, 28) -%}
    round(looked_back.temp_mean_{{ days }}d - looked_back.temp_mean_1d, 4) as temp_gap_f_{{ days }}d,
    {% endfor -%}
    looked_back.pressure_mean as pressure_mean_mb_1d,
    round(looked_back.pressure_mean - looked_back.pressure_mean_2_days_ago, 4) as pressure_change_mb_2d,
    looked_back.humid_mean as humid_mean_pct_1d,
    looked_back.wind_mean as wind_mean_mph_1d,
    round(sin(2 * pi() * dayofyear(days.weather_date) / 365), 6) as season_sine,
    round(cos(2 * pi() * dayofyear(days.weather_date) / 365), 6) as season_cosine
from days
left join looked_back on days.origin = looked_back.origin and days.weather_date = looked_back.weather_date
