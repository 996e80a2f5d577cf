select
    flight_id,
    flight_date,
    ingestion_date,
    carrier,
    flight_number,
    origin,
    dest,
    aircraft,
    sched_dep_minute,
    sched_arr_minute,
    distance_miles
from {{ ref('fct_scheduled_flights') }}
