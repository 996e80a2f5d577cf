{# A leak: a row that draws on the day it is to predict, or on a later one. #}
{% test history_before(model, as_of, day) %}
select * from {{ model }} where {{ as_of }} >= {{ day }}
{% endtest %}
