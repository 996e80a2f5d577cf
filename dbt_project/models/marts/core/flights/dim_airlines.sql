{{ config(meta={'day': 'snapshot_date'}) }}

select
    snapshot_date,
    carrier,
    airline_name
from {{ ref('stg_flights__airlines') }}
where {{ in_nights('snapshot_date') }}
