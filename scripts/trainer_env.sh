#!/bin/sh
# Makes the environment for the tests of a trainer library, and says how to run them.
#   scripts/trainer_env.sh NAME [folder]     NAME: trl, swift, llamafactory, verl
#                                            the folder is .venv-NAME unless given
# The libraries pin different releases of transformers, so they can't share one.
set -eu

cd "$(dirname "$0")/.."
name=${1:-}
requirements=requirements/trainer-$name.txt
if [ ! -f "$requirements" ]; then
    echo "usage: scripts/trainer_env.sh trl|swift|llamafactory|verl [folder]" >&2
    exit 1
fi
folder=${2:-.venv-$name}
if [ -x .venv/bin/uv ]; then uv=.venv/bin/uv; else uv=uv; fi
if ! command -v "$uv" >/dev/null; then
    echo "uv is needed: pip install uv" >&2
    exit 1
fi

# Not compiled in advance: tests import a small part of what is installed.
"$uv" venv --quiet --allow-existing --python 3.11 "$folder"
"$uv" pip install --quiet --python "$folder/bin/python" --no-deps -r "$requirements"
echo "ready: make test-$name"
