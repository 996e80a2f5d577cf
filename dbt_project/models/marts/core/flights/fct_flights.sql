{{ config(meta={'day': 'flight_date'}) }}

select
    flight_id,
    flight_date,
    carrier,
    flight_number,
    origin,
    dest,
    aircraft,
    sched_dep_minute,
    dep_delay_minutes,
    arr_delay_minutes,
    is_cancelled,
    is_disrupted,
    ingestion_date
from {{ ref('stg_flights__actuals') }}
where {{ in_nights('flight_date') }}
