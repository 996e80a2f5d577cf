select
    partition_day as snapshot_date,
    airport,
    name as airport_name,
    latitude,
    longitude,
    timezone
from {{ source('flights', 'airports') }}
