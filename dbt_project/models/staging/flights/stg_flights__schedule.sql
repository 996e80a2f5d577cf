select
    concat_ws(':', flight_date, carrier, flight_number, origin) as flight_id,
    flight_date,
    carrier,
    flight_number,
    origin,
    dest,
    aircraft,
    {{ minute_of_day('sched_dep_time') }} as sched_dep_minute,
    {{ minute_of_day('sched_arr_time') }} as sched_arr_minute,
    distance as distance_miles,
    ingestion_date
from {{ source('flights', 'schedule') }}
where partition_day = flight_date
