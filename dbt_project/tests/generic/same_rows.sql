{#
  No row is lost, doubled or made up: on each of the nights' days, `lead_days` later, this model and `to` have the same
  `key`s, each as often.

  `known` is the column of `to` that says in which night a row became known: rows that were not known `lead_days` before
  their day are not expected here.
#}
{% test same_rows(model, to, key, day, lead_days=0, known=none) %}
{%- set nights = days_of_nights(day, lead_days) %}
{%- set columns = [day] + key %}
{%- set in_time = known ~ ' <= date_sub(' ~ day ~ ', ' ~ lead_days ~ ')' if known else 'true' %}
select {{ columns | join(', ') }}, sum(n__) as difference
from (
    select {{ columns | join(', ') }}, 1 as n__ from {{ model }} where {{ nights }}
    union all
    select {{ columns | join(', ') }}, -1 as n__ from {{ to }} where {{ nights }} and {{ in_time }}
)
group by {{ columns | join(', ') }}
having sum(n__) <> 0
{% endtest %}
