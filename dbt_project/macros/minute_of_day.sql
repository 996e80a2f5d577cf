{# 1435 (HHMM, 2400 is midnight) as the minutes since midnight, 875. #}
{% macro minute_of_day(hhmm) -%}
  cast(({{ hhmm }} div 100 % 24) * 60 + {{ hhmm }} % 100 as int)
{%- endmacro %}
