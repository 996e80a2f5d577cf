{# A table's grain: no row lacks a column of its key, and no two rows share it. One query where `unique` and `not_null` are several. #}
{% test primary_key(model, columns) %}
select {{ columns | join(', ') }}, count(*) as n__
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1{% for column in columns %} or {{ column }} is null{% endfor %}
{% endtest %}
