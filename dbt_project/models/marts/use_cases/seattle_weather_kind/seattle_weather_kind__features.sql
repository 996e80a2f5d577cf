{{ config(meta={'day': 'weather_date', 'lead_days': 1}) }}

with days as (
    -- a station of which nothing had arrived by the evening before could not be predicted
    select *
    from {{ ref('int_seattle_weather_kind__population') }}
    where {{ in_nights('weather_date') }} and ingestion_date < weather_date
),

-- The days that each row looks back on: the 28 before, where they had arrived by the evening before.
observed as (
    select
        days.station,
        days.weather_date,
        datediff(days.weather_date, weather.weather_date) as days_ago,
        weather.ingestion_date,
        weather.kind,
        weather.precip_mm,
        weather.temp_max_c,
        weather.temp_min_c,
        weather.wind_ms
    from days
    inner join {{ ref('fct_seattle_weather_daily') }} as weather
        on days.station = weather.station
        and weather.weather_date between date_sub(days.weather_date, 28) and date_sub(days.weather_date, 1)
        and days.weather_date > weather.ingestion_date
    where weather.weather_date between {{ night('from', -27) }} and {{ night('to') }}
),

history as (
    select
        station,
        weather_date,
        max(ingestion_date) as known_from,
        max(case when days_ago = 1 then kind end) as kind_1d,
        {% for kind in ('drizzle', 'fog', 'rain', 'snow', 'sun') -%}
        {% for days in (7, 28) -%}
        avg(case when days_ago <= {{ days }} then cast(kind = '{{ kind }}' as int) end) as {{ kind }}_share_{{ days }}d,
        {% endfor -%}
        {% endfor -%}
        max(case when days_ago = 1 then precip_mm end) as precip_mm_1d,
        max(case when days_ago = 1 then temp_max_c end) as temp_max_c_1d,
        max(case when days_ago = 1 then temp_min_c end) as temp_min_c_1d,
        max(case when days_ago = 1 then wind_ms end) as wind_ms_1d,
        -- rounded, so that they do not depend on the order in which days are added
        round(avg(case when days_ago <= 7 then precip_mm end), 4) as precip_mean_mm_7d,
        round(avg(case when days_ago <= 7 then temp_max_c end), 4) as temp_max_mean_c_7d
    from observed
    group by station, weather_date
)

select
    days.station,
    days.weather_date,
    greatest(days.ingestion_date, history.known_from) as known_from,
    history.kind_1d,
    {% for kind in ('drizzle', 'fog', 'rain', 'snow', 'sun') -%}
    {% for days in (7, 28) -%}
    history.{{ kind }}_share_{{ days }}d,
    {% endfor -%}
    {% endfor -%}
    history.precip_mm_1d,
    history.precip_mean_mm_7d,
    history.temp_max_c_1d,
    history.temp_min_c_1d,
    history.temp_max_mean_c_7d,
    round(history.temp_max_c_1d - history.temp_min_c_1d, 4) as temp_range_c_1d,
    history.wind_ms_1d,
    round(sin(2 * pi() * dayofyear(days.weather_date) / 365), 6) as season_sine,
    round(cos(2 * pi() * dayofyear(days.weather_date) / 365), 6) as season_cosine
from days
left join history on days.station = history.station and days.weather_date = history.weather_date
