{{ config(meta={'day': 'snapshot_date'}) }}

select
    snapshot_date,
    aircraft,
    built_year,
    manufacturer,
    model,
    seats
from {{ ref('stg_flights__planes') }}
where {{ in_nights('snapshot_date') }}
