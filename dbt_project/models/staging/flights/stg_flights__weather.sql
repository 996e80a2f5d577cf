select
    weather_date,
    origin,
    observed_at,
    temp as temp_f,
    humid as humid_pct,
    wind_speed as wind_mph,
    precip as precip_in,
    pressure as pressure_mb,
    visib as visib_mi,
    ingestion_date
from {{ source('flights', 'weather') }}
where partition_day = weather_date
