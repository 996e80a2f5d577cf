{{ config(meta={'day': 'weather_date'}) }}

select
    station,
    weather_date,
    night,
    kind
from {{ ref('fct_seattle_weather_daily') }}
where {{ in_nights('weather_date') }}
