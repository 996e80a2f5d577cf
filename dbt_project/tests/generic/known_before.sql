{# A leak: a row that draws on something which arrived in the night of the day it is to predict, or later. #}
{% test known_before(model, known_from, day) %}
select * from {{ model }} where not coalesce({{ known_from }} < {{ day }}, false)
{% endtest %}
