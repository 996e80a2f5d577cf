-- No gap and nothing made up: as of the day of each snapshot, the history is that snapshot.
with history as (
    select
        snapshots.snapshot_date,
        versions.aircraft,
        versions.built_year,
        versions.manufacturer,
        versions.model,
        versions.seats
    from (select distinct snapshot_date from {{ ref('stg_flights__planes') }}) as snapshots
    inner join {{ candidate(ref('dim_aircraft_history')) }} as versions
        on snapshots.snapshot_date >= versions.valid_from
        and (versions.valid_to is null or snapshots.snapshot_date < versions.valid_to)
),

register as (
    select
        snapshot_date,
        aircraft,
        built_year,
        manufacturer,
        model,
        seats
    from {{ ref('stg_flights__planes') }}
)

select * from (
    select * from history
    except all
    select * from register
) as made_up
union all
select * from (
    select * from register
    except all
    select * from history
) as missing
