{{ config(meta={'day': 'flight_date', 'lead_days': 1}) }}

with flights as (
    -- a flight that was announced later is not one that could be predicted
    select *
    from {{ ref('int_flight_delays__population') }}
    where {{ in_nights('flight_date') }} and ingestion_date < flight_date
),

history as (
    select
        flight_id,
        {% for kind in ('carrier', 'route', 'origin', 'dest', 'origin_hour', 'aircraft', 'flight_number') -%}
        {% for days in (1, 7, 28) -%}
        max(case when kind = '{{ kind }}' then disrupted_rate_{{ days }}d end) as {{ kind }}_disrupted_rate_{{ days }}d,
        {% endfor -%}
        {% endfor -%}
        {% for kind in ('aircraft', 'route', 'flight_number') -%}
        max(case when kind = '{{ kind }}' then flights_28d end) as {{ kind }}_flights_28d,
        {% endfor -%}
        max(case when kind = 'network' then disrupted_rate_1d end) as network_disrupted_rate_1d,
        max(case when kind = 'network' then disrupted_rate_7d end) as network_disrupted_rate_7d,
        max(case when kind = 'network' then cancelled_rate_1d end) as network_cancelled_rate_1d,
        max(case when kind = 'origin' then cancelled_rate_1d end) as origin_cancelled_rate_1d,
        max(known_from) as known_from
    from {{ ref('int_flight_delays__history') }}
    group by flight_id
),

weather as (
    select
        date_add(weather_date, 1) as flight_date,
        origin,
        avg(temp_f) as weather_temp_mean_f,
        max(wind_mph) as weather_wind_max_mph,
        sum(precip_in) as weather_precip_sum_in,
        min(visib_mi) as weather_visib_min_mi,
        min(pressure_mb) as weather_pressure_min_mb,
        avg(humid_pct) as weather_humid_mean_pct,
        max(ingestion_date) as known_from
    from {{ ref('fct_weather_hourly') }}
    where weather_date between {{ night('from') }} and {{ night('to') }} and ingestion_date <= weather_date
    group by weather_date, origin
),

flight_dates as (
    select distinct flight_date from flights
),

snapshot_dates as (
    select distinct snapshot_date from {{ ref('dim_aircraft') }}
),

-- The register as it was known the evening before the flight: the latest snapshot until then.
snapshots as (
    select
        flight_dates.flight_date,
        max(snapshot_dates.snapshot_date) as snapshot_date
    from flight_dates
    inner join snapshot_dates on flight_dates.flight_date > snapshot_dates.snapshot_date
    group by flight_dates.flight_date
),

aircraft as (
    select
        snapshots.flight_date,
        snapshots.snapshot_date,
        dim_aircraft.aircraft,
        dim_aircraft.built_year,
        dim_aircraft.seats
    from snapshots
    inner join {{ ref('dim_aircraft') }} as dim_aircraft on snapshots.snapshot_date = dim_aircraft.snapshot_date
)

select
    flights.flight_id,
    flights.flight_date,
    -- what is null was not drawn on: greatest passes over it
    greatest(flights.ingestion_date, history.known_from, weather.known_from, aircraft.snapshot_date) as known_from,
    flights.carrier,
    flights.origin,
    cast(flights.sched_dep_minute div 60 as int) as sched_dep_hour,
    flights.sched_dep_minute,
    flights.sched_arr_minute,
    flights.distance_miles,
    cast(dayofweek(flights.flight_date) as int) as day_of_week,
    {% for kind in ('carrier', 'route', 'origin', 'dest', 'origin_hour', 'aircraft', 'flight_number') -%}
    {% for days in (1, 7, 28) -%}
    history.{{ kind }}_disrupted_rate_{{ days }}d,
    {% endfor -%}
    {% endfor -%}
    history.aircraft_flights_28d,
    history.route_flights_28d,
    history.flight_number_flights_28d,
    history.network_disrupted_rate_1d,
    history.network_disrupted_rate_7d,
    history.network_cancelled_rate_1d,
    history.origin_cancelled_rate_1d,
    weather.weather_temp_mean_f,
    weather.weather_wind_max_mph,
    weather.weather_precip_sum_in,
    weather.weather_visib_min_mi,
    weather.weather_pressure_min_mb,
    weather.weather_humid_mean_pct,
    -- of an aircraft that is yet to be built the register is wrong
    cast(
        case
            when aircraft.built_year <= year(flights.flight_date)
                then year(flights.flight_date) - aircraft.built_year
        end
        as int
    ) as aircraft_age_years,
    aircraft.seats as aircraft_seats
from flights
inner join history on flights.flight_id = history.flight_id
left join weather on flights.flight_date = weather.flight_date and flights.origin = weather.origin
left join aircraft on flights.flight_date = aircraft.flight_date and flights.aircraft = aircraft.aircraft
