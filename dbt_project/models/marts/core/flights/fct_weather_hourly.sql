{{ config(meta={'day': 'weather_date'}) }}

select
    weather_date,
    origin,
    observed_at,
    temp_f,
    humid_pct,
    wind_mph,
    precip_in,
    pressure_mb,
    visib_mi,
    ingestion_date
from {{ ref('stg_flights__weather') }}
where {{ in_nights('weather_date') }}
