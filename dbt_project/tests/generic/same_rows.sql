{# A row lost or made up: each of the nights' days must have as many rows here as there. #}
{% test same_rows(model, to, day, lead_days=0) %}
{%- set nights = days_of_nights(day, lead_days) %}
select {{ day }}, sum(n) as difference
from (
    select {{ day }}, 1 as n from {{ model }} where {{ nights }}
    union all
    select {{ day }}, -1 as n from {{ to }} where {{ nights }}
)
group by {{ day }}
having sum(n) <> 0
{% endtest %}
