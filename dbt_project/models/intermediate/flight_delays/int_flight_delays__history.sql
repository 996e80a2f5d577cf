{{ config(meta={'lead_days': 1}) }}

{#
  How flights like each scheduled one went before its day: one row a flight and kind of likeness.

  Only flights of earlier days are looked at, none older than 28 days, and only rows that had arrived the evening before
  the flight: what came later was not known. Daily counts come first, so that the join over the look-back meets one
  row a day and not one a flight.
#}
{% set kinds = {
    'carrier': 'carrier',
    'route': "concat_ws('-', origin, dest)",
    'origin': 'origin',
    'dest': 'dest',
    'origin_hour': "concat_ws('-', origin, sched_dep_minute div 60)",
    'aircraft': 'aircraft',
    'flight_number': "concat_ws('-', carrier, flight_number)",
    'network': "'all'",
} %}
{% set likeness -%}
    lateral view stack(
        {{ kinds | length }},
        {% for kind, value in kinds.items() %}'{{ kind }}', {{ value }}{{ ', ' if not loop.last }}{% endfor %}
    ) likeness as kind, value
{%- endset %}

with scheduled as (
    select
        flight_id,
        flight_date,
        kind,
        value
    from {{ ref('int_flight_delays__population') }}
        {{ likeness }}
    where {{ in_nights('flight_date') }} and ingestion_date < flight_date
),

wanted as (
    select distinct
        flight_date,
        kind,
        value
    from scheduled
    where value is not null
),

-- by itself: the embedded engine does not know a column of a lateral view in the WHERE beside it
observed as (
    select
        flight_date,
        ingestion_date,
        kind,
        value,
        is_disrupted,
        is_cancelled
    from {{ ref('fct_flights') }}
        {{ likeness }}
    where flight_date between {{ night('from', -27) }} and {{ night('to') }}
),

daily as (
    select
        flight_date,
        ingestion_date,
        kind,
        value,
        count(*) as flights,
        count_if(is_disrupted) as disrupted,
        count_if(is_cancelled) as cancelled
    from observed
    where value is not null
    group by flight_date, ingestion_date, kind, value
),

history as (
    select
        wanted.flight_date,
        wanted.kind,
        wanted.value,
        {% for days in (1, 7, 28) -%}
        {% set recent = "daily.flight_date >= date_sub(wanted.flight_date, " ~ days ~ ")" -%}
        try_divide(
            sum(case when {{ recent }} then daily.disrupted end), sum(case when {{ recent }} then daily.flights end)
        ) as disrupted_rate_{{ days }}d,
        {% endfor -%}
        try_divide(
            sum(case when daily.flight_date = date_sub(wanted.flight_date, 1) then daily.cancelled end),
            sum(case when daily.flight_date = date_sub(wanted.flight_date, 1) then daily.flights end)
        ) as cancelled_rate_1d,
        sum(daily.flights) as flights_28d,
        max(daily.ingestion_date) as known_from
    from wanted
    inner join daily
        on wanted.kind = daily.kind
        and wanted.value = daily.value
        and daily.flight_date between date_sub(wanted.flight_date, 28) and date_sub(wanted.flight_date, 1)
        and wanted.flight_date > daily.ingestion_date
    group by wanted.flight_date, wanted.kind, wanted.value
)

select
    scheduled.flight_id,
    scheduled.flight_date,
    scheduled.kind,
    history.disrupted_rate_1d,
    history.disrupted_rate_7d,
    history.disrupted_rate_28d,
    history.cancelled_rate_1d,
    coalesce(history.flights_28d, 0) as flights_28d,
    history.known_from
from scheduled
left join history
    on scheduled.flight_date = history.flight_date
    and scheduled.kind = history.kind
    and scheduled.value = history.value
