# Runs the Python packages openai, llm and aider-chat against `r2lm serve`: tests/e2e/clients.
set -eu
tree=${R2LM_SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}
clients=$("$tree/tools/fetch_clients.sh" --have) || exit 77
models=${R2LM_MODEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/r2lm/models}
[ -f "$models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf" ] || { echo "not fetched yet; run tools/fetch_models.sh qwen05"; exit 77; }
cd "$tree/tests/e2e/clients" && exec "$clients/openai_llm/bin/python" -m pytest -q -p no:cacheprovider .
