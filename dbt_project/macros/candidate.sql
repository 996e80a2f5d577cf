{#
  Write, audit, publish.

  A model with the materialization `candidate` writes the days it was asked for, and only those, to a folder of its own
  below `candidate` in the lake. Its tests look at that. `ref()` in a model means the published table: what passed
  its tests, in an earlier stage. The DAG that ran dbt publishes the candidates and removes them.

  A DAG gives each try of each run its own candidates, through the environment; a build by hand replaces its last.
  Known by its path: nobody else reads a candidate, so that it needs no place in a catalogue (docs/decisions). Plain
  Parquet by Apache Spark; the embedded engine writes no file for no rows, and then Delta's log still has the columns.

  A model's `meta` says which column is the `day` its published table is partitioned by, and by how many `lead_days`
  the days it builds come after the nights of the run. One that is `whole` builds all that there is, whatever the
  nights, and replaces its published table.
#}

{% macro candidate(relation) -%}
  {{ return(api.Relation.create(schema=candidate_format(), identifier='`' ~ candidate_folder(relation) ~ '`', type='table')) }}
{%- endmacro %}

{% macro candidate_format() -%}
  {{ return('delta' if execute and env_var('NOCTURNE_ENGINE', '') == 'embedded' else 'parquet') }}
{%- endmacro %}

{% macro candidate_folder(relation) -%}
  {#- Looked up only when a query is made: dbt reads the whole project again where a variable that it saw has changed. -#}
  {%- set lake = env_var('NOCTURNE_LAKE_URI', '') if execute else '' -%}
  {%- set lake = lake or (env_var('NOCTURNE_VAR', '') if execute else '') ~ '/lake' -%}
  {%- set suffix = env_var('NOCTURNE_CANDIDATE_SUFFIX', '') if execute else '' -%}
  {%- set name = relation.schema ~ '__' ~ relation.identifier ~ suffix -%}
  {{ return(lake.rstrip('/').replace('s3://', 's3a://') ~ '/candidate/' ~ name) }}
{%- endmacro %}

{% materialization candidate, adapter='spark', supported_languages=['sql'] %}
  {{ run_hooks(pre_hooks) }}
  {%- if config.get('contract').enforced -%}
    {{ get_assert_columns_equivalent(compiled_code) }}
    {%- set compiled_code = get_select_subquery(compiled_code) -%}
  {%- endif -%}
  {% call statement('main') -%}
    insert overwrite directory '{{ candidate_folder(this) }}' using {{ candidate_format() }} options (overwriteSchema 'true')
    {{ compiled_code }}
  {%- endcall %}
  {{ run_hooks(post_hooks) }}
  {{ return({'relations': [candidate(this)]}) }}
{% endmaterialization %}

{# dbt asks here what a generic test of a model is to read. #}
{% macro get_where_subquery(relation) -%}
  {%- set tested = graph.nodes.get(model.attached_node) if execute else none -%}
  {%- if tested and tested.config.materialized == 'candidate' and relation.identifier == tested.alias -%}
    {%- set relation = candidate(relation) -%}
  {%- endif -%}
  {%- set where = config.get('where') -%}
  {%- if where -%}
    {{ return('(select * from ' ~ relation ~ ' where ' ~ where ~ ') dbt_subquery') }}
  {%- endif -%}
  {{ return(relation) }}
{%- endmacro %}

{# A model's schema is its layer, as written. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ return(custom_schema_name or target.schema) }}
{%- endmacro %}
