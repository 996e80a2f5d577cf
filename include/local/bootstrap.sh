#!/bin/sh
# Finds a Python 3.12 and lets it make .venv. A `python3.12` on the path may be a pyenv shim that fails: each candidate
# has to start before it is taken.
set -eu
cd "$(dirname "$0")/../.."

works() { [ -x "$1" ] && "$1" -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 12))' >/dev/null 2>&1; }

candidates() {
    echo "$PWD/.venv/bin/python"
    echo "$PATH" | tr ':' '\n' | sed 's|$|/python3.12|'
    echo "$PATH" | tr ':' '\n' | sed 's|$|/python3|'
    command -v uv >/dev/null 2>&1 && uv python find 3.12 2>/dev/null
    for folder in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12* "${UV_PYTHON_INSTALL_DIR:-$HOME/.local/share/uv/python}"/cpython-3.12*; do
        echo "$folder/bin/python3.12"
    done
}

python=$(candidates | while IFS= read -r candidate; do
    if works "$candidate"; then echo "$candidate"; break; fi
done)
if [ -z "$python" ]; then
    echo "set-up: Python 3.12 is needed and was not found: install it from the system, with \`pyenv install 3.12\` or with \`uv python install 3.12\`" >&2
    exit 1
fi
PYTHONPATH=$PWD exec "$python" -m include.local.bootstrap
