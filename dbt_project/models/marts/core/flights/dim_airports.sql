{{ config(meta={'day': 'snapshot_date'}) }}

select
    snapshot_date,
    airport,
    airport_name,
    latitude,
    longitude,
    timezone
from {{ ref('stg_flights__airports') }}
where {{ in_nights('snapshot_date') }}
