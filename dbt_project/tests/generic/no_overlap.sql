{# At no time two versions of one thing are valid: each ends no later than the next one begins, and after it began. #}
{% test no_overlap(model, key) %}
select * from (
    select
        {{ key }},
        valid_from,
        valid_to,
        lead(valid_from) over (partition by {{ key }} order by valid_from) as next_from
    from {{ model }}
)
where valid_to <= valid_from or (next_from is not null and (valid_to is null or valid_to > next_from))
{% endtest %}
