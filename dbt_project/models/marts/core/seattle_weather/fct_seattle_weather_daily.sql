{{ config(meta={'day': 'weather_date'}) }}

select
    station,
    weather_date,
    kind,
    precip_mm,
    temp_max_c,
    temp_min_c,
    wind_ms,
    ingestion_date
from {{ ref('stg_seattle_weather__daily') }}
where {{ in_nights('weather_date') }}
