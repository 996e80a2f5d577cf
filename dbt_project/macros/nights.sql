{#
  The nights a run is for. By hand: `dbt build --vars '{from: 2013-06-01, to: 2013-06-07}'`. A DAG says it through the
  environment instead, since other vars than last time make dbt read the whole project again.
#}
{% macro night(which, shift=0) -%}
  {%- set day = var(which, none) -%}
  {%- if execute and not day -%}
    {%- set day = env_var('NOCTURNE_' ~ which | upper, '') -%}
  {%- endif -%}
  {%- if execute and not day and flags.WHICH in ('run', 'build', 'test') -%}
    {{ exceptions.raise_compiler_error("Say for which nights: dbt build --vars '{from: 2013-06-01, to: 2013-06-07}'") }}
  {%- endif -%}
  {%- set day = day or '1970-01-01' -%}
  date'{{ (modules.datetime.datetime.strptime(day | string, '%Y-%m-%d') + modules.datetime.timedelta(days=shift)).date() }}'
{%- endmacro %}

{# Whether `column` is a day that this model builds: the nights, `lead_days` of its meta later. #}
{% macro in_nights(column) -%}
  {{ days_of_nights(column, (config.get('meta') or {}).get('lead_days', 0)) }}
{%- endmacro %}

{#
  Whether `column` is a day of the nights of the run, `lead_days` later. Earlier nights of which rows arrived in these
  come `also`: to a DAG's build through the environment, by hand as the var `also`, days separated by commas.
#}
{% macro days_of_nights(column, lead_days=0) -%}
  {%- set also = var('also', none) or (env_var('NOCTURNE_ALSO', '') if execute else '') -%}
  ({{ column }} between {{ night('from', lead_days) }} and {{ night('to', lead_days) }}
  {%- for one in also.split(',') if one %} or {{ column }} = date_add(date'{{ one }}', {{ lead_days }}){% endfor %})
{%- endmacro %}
