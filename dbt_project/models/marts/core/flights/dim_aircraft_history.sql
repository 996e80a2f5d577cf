{{ config(meta={'day': 'valid_from', 'whole': true}) }}

{#
  The register as a slowly changing dimension of type 2, made from all snapshots at once: whichever order the nights
  ran in, and however often, it comes out the same. A `dbt snapshot` depends on both (docs/decisions).
#}
with snapshots as (
    select
        snapshot_date,
        row_number() over (order by snapshot_date) as ordinal,
        lead(snapshot_date) over (order by snapshot_date) as next_snapshot_date
    from (select distinct snapshot_date from {{ ref('stg_flights__planes') }}) as dates
),

register as (
    select
        planes.*,
        snapshots.next_snapshot_date,
        -- the same number for all snapshots in a row in which an aircraft is there and stays as it is
        snapshots.ordinal - row_number() over (
            partition by planes.aircraft, planes.built_year, planes.manufacturer, planes.model, planes.seats
            order by planes.snapshot_date
        ) as unchanged
    from {{ ref('stg_flights__planes') }} as planes
    inner join snapshots on planes.snapshot_date = snapshots.snapshot_date
)

select
    aircraft,
    min(snapshot_date) as valid_from,
    case when count(next_snapshot_date) = count(*) then max(next_snapshot_date) end as valid_to,
    built_year,
    manufacturer,
    model,
    seats
from register
group by aircraft, built_year, manufacturer, model, seats, unchanged
