{#
  A value as one of so many buckets, '0' to `buckets` - 1, for a column of too many values to list. Equal values share a
  bucket, and so do some that differ; one that nobody has seen before has a bucket too. Null stays null.

  For texts, whole numbers and days; include/features/hashing.py gives the same in Python. By MD5 and not by an engine's
  own hash: it has the same digits everywhere and for ever, and of 32 bits none is a sign.
#}
{% macro hashed(column, buckets) -%}
  cast(cast(conv(substring(md5(cast({{ column }} as string)), 1, 8), 16, 10) as bigint) % {{ buckets }} as string)
{%- endmacro %}
