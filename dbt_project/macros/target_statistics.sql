{#
  What became of earlier rows with the same value, for a column of too many values to list: a query with a row for each
  event date and value of `by` that the population has, null left out.

    <day>, <by>   to join the population with
    label_mean    the mean of the label over the rows below, as if `prior_rows` more had had the mean of all values. So
                  a value that is new has the mean of all, and one of few rows little of its own. Null where no label of
                  any value was known. With `classes` instead `<name>_share` for each of them, the share of its rows
    labels        how many rows of the value these were
    known_from    the last night in which a label arrived that this draws on, those of other values included

  The rows are those of `outcomes` with a label that was known in the night that makes the features, `horizon_days`
  before the event date: it had arrived (`known`), and `label_days` had gone by since its own day. Both are the numbers
  of the spec. Of these `look_back_days` event dates: what a night reads does not grow with history. A row's own label,
  and those of its day, are never among them.

    population    a relation or CTE with the rows to predict: `day` and `by`
    outcomes      a relation or CTE with a row for each label: `day`, `by`, `label` and `known`
    label         a number, or yes and no; with `classes` a text. Null says that there is none
    classes       what a class is called in a column's name → the class as a literal of SQL
#}
{% macro target_statistics(
    population, outcomes, by, day, label, look_back_days, label_days, horizon_days=1, classes={}, prior_rows=5,
    known='ingestion_date'
) -%}
{%- if execute and (look_back_days < 1 or label_days < 0 or horizon_days < 0 or prior_rows <= 0) -%}
  {{ exceptions.raise_compiler_error(
      "target_statistics by " ~ by ~ ": look_back_days and prior_rows must be positive, label_days and horizon_days not "
      ~ "negative. Without prior_rows the one label of a rare value would be its statistic"
  ) }}
{%- endif -%}
{%- set numbers = {} -%}
{%- for name, literal in classes.items() -%}
  {%- do numbers.update({name ~ '_share': 'if(' ~ label ~ ' = ' ~ literal ~ ', 1, 0)'}) -%}
{%- else -%}
  {%- do numbers.update({'label_mean': label}) -%}
{%- endfor -%}
{%- set made = 'date_sub(wanted__.' ~ day ~ ', ' ~ horizon_days ~ ')' -%}
{%- set was_known -%}
daily__.{{ day }} between date_sub({{ made }}, {{ look_back_days + label_days - 1 }}) and date_sub({{ made }}, {{ label_days }})
            and daily__.{{ day }} < wanted__.{{ day }}
            and daily__.{{ known }} <= {{ made }}
{%- endset -%}
    -- a row a day, night of arrival and value, so that the joins over the look-back meet few rows
    with daily__ as (
        select
            {{ day }},
            {{ known }},
            {{ by }},
            {% for name, number in numbers.items() -%}
            sum(cast({{ number }} as double)) as {{ name }},
            {% endfor -%}
            count(*) as labels
        from {{ outcomes }}
        where
            {{ label }} is not null
            and {{ day }} between {{ night('from', 1 - look_back_days - label_days) }} and {{ night('to', -label_days) }}
        group by {{ day }}, {{ known }}, {{ by }}
    ),

    wanted__ as (
        select distinct
            {{ day }},
            {{ by }}
        from {{ population }}
        where {{ by }} is not null
    ),

    own__ as (
        select
            wanted__.{{ day }},
            wanted__.{{ by }},
            {% for name in numbers -%}
            sum(daily__.{{ name }}) as {{ name }},
            {% endfor -%}
            sum(daily__.labels) as labels
        from wanted__
        inner join daily__
            on wanted__.{{ by }} = daily__.{{ by }}
            and {{ was_known }}
        group by wanted__.{{ day }}, wanted__.{{ by }}
    ),

    everyone__ as (
        select
            wanted__.{{ day }},
            {% for name in numbers -%}
            sum(daily__.{{ name }}) / sum(daily__.labels) as {{ name }},
            {% endfor -%}
            max(daily__.{{ known }}) as known_from
        from (select distinct {{ day }} from wanted__) as wanted__
        inner join (
            select
                {{ day }},
                {{ known }},
                {% for name in numbers -%}
                sum({{ name }}) as {{ name }},
                {% endfor -%}
                sum(labels) as labels
            from daily__
            group by {{ day }}, {{ known }}
        ) as daily__
            on {{ was_known }}
        group by wanted__.{{ day }}
    )

    select
        wanted__.{{ day }},
        wanted__.{{ by }},
        {% for name in numbers -%}
        (coalesce(own__.{{ name }}, 0) + {{ prior_rows }} * everyone__.{{ name }})
        / (coalesce(own__.labels, 0) + {{ prior_rows }}) as {{ name }},
        {% endfor -%}
        coalesce(own__.labels, 0) as labels,
        everyone__.known_from
    from wanted__
    left join everyone__ on wanted__.{{ day }} = everyone__.{{ day }}
    left join own__ on wanted__.{{ day }} = own__.{{ day }} and wanted__.{{ by }} = own__.{{ by }}
{%- endmacro %}
