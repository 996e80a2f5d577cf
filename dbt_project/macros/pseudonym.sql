{#
  A personal value as its pseudonym: SHA-256 in hex with the installation's key, nested as in HMAC. Equal values have
  equal pseudonyms, so that they can still be joined and counted; null stays null (docs/decisions/privacy.md).

  The engine reads the key from its file as the query runs: it is in no compiled SQL, log or plan. With three slashes:
  of `file:/…` the embedded engine reads nothing, without a word.
#}
{% macro pseudonym(column) -%}
  {%- set uri = env_var('NOCTURNE_PSEUDONYM_KEY_URI', '') if execute else '' -%}
  {%- set uri = uri or ('file:' ~ env_var('NOCTURNE_VAR', '') if execute else '') ~ '/secrets/pseudonym_key' -%}
  {%- if uri.startswith('file:/') and not uri.startswith('file://') -%}
    {%- set uri = 'file://' ~ uri[5:] -%}
  {%- endif -%}
  {%- set problem = uri ~ " must hold one line of 64 hex digits, and `make setup` makes it" -%}
  {%- set key -%}
    (select if(count(*) = 1 and max(value) rlike '^[0-9a-f]{64}$', max(value), raise_error("{{ problem }}")) from text.`{{ uri }}`)
  {%- endset -%}
  sha2(concat({{ key }}, sha2(concat({{ key }}, cast({{ column }} as string)), 256)), 256)
{%- endmacro %}
