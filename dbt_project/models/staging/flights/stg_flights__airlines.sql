select
    partition_day as snapshot_date,
    carrier,
    name as airline_name
from {{ source('flights', 'airlines') }}
