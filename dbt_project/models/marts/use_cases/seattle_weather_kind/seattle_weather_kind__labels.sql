{{ config(meta={'day': 'weather_date'}) }}

select
    station,
    weather_date,
    ingestion_date,
    kind
from {{ ref('fct_seattle_weather_daily') }}
where {{ in_nights('weather_date') }}
