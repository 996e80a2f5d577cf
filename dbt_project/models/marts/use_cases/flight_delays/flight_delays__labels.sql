{{ config(meta={'day': 'flight_date'}) }}

select
    flight_id,
    flight_date,
    ingestion_date,
    cast(is_disrupted as int) as is_disrupted
from {{ ref('fct_flights') }}
where {{ in_nights('flight_date') }}
