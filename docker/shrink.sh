#!/bin/sh
# Takes from an environment what no container needs: `shrink.sh .venv`, JAVA set where it runs Spark's server.
set -eu
packages=$1/lib/python3.12/site-packages
# What installs packages has done so.
"$1/bin/python" -m pip uninstall --quiet --yes uv pip
# Tests and C headers that some wheels bring along: 140 MB.
for name in matplotlib numpy pandas pyarrow pysail scipy sklearn; do
    if [ -d "$packages/$name" ]; then
        find "$packages/$name" -type d -name tests -prune -exec rm -r {} +
    fi
done
rm -rf "$packages/pyarrow/include"
# PySpark's jars are for Java: their folder stays, by which PySpark knows itself. Of those, a cluster of its own never
# loads what speaks to Kubernetes, nor the store that only streams with a state can be told to use: 90 MB.
if [ -d "$packages/pyspark/jars" ]; then
    if [ -z "${JAVA:-}" ]; then
        find "$packages/pyspark/jars" -type f -delete
    else
        find "$packages/pyspark/jars" -type f \( -name 'kubernetes-*' -o -name 'spark-kubernetes*' -o -name 'rocksdbjni-*' \) -delete
    fi
fi
