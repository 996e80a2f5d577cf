select
    partition_day as snapshot_date,
    aircraft,
    built_year,
    manufacturer,
    model,
    seats
from {{ source('flights', 'planes') }}
