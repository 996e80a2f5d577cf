{# A row lost or made up: the days here must have as many rows as the same days have there. #}
{% test same_rows(model, to, day) %}
with
here as (select {{ day }} as day, count(*) as n from {{ model }} group by {{ day }}),
there as (select {{ day }} as day, count(*) as n from {{ to }} where {{ day }} in (select day from here) group by {{ day }})
select * from here full outer join there on here.day = there.day where not (here.n <=> there.n)
{% endtest %}
