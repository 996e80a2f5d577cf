select
    concat_ws(':', flight_date, carrier, flight_number, origin) as flight_id,
    flight_date,
    carrier,
    flight_number,
    origin,
    dest,
    aircraft,
    {{ minute_of_day('sched_dep_time') }} as sched_dep_minute,
    dep_delay as dep_delay_minutes,
    arr_delay as arr_delay_minutes,
    dep_time is null as is_cancelled,
    -- Diverted flights left and have no arrival delay: they did not arrive where they should have.
    dep_time is null or arr_delay is null or arr_delay > 15 as is_disrupted,
    ingestion_date
from {{ source('flights', 'actuals') }}
where partition_day = flight_date
