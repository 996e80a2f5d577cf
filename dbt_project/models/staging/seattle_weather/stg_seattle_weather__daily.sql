select
    'SEA' as station,
    weather_date,
    weather as kind,
    precipitation as precip_mm,
    temp_max as temp_max_c,
    temp_min as temp_min_c,
    wind as wind_ms,
    ingestion_date
from {{ source('seattle_weather', 'daily') }}
where partition_day = weather_date
