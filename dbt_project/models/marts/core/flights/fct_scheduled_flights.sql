{{ config(meta={'day': 'flight_date', 'lead_days': 1}) }}

select
    flight_id,
    flight_date,
    carrier,
    flight_number,
    origin,
    dest,
    aircraft,
    sched_dep_minute,
    sched_arr_minute,
    distance_miles,
    ingestion_date
from {{ ref('stg_flights__schedule') }}
where {{ in_nights('flight_date') }}
