#!/bin/sh
# Installs LiteLLM into an environment of its own: sh bench/load/litellm.sh [DIRECTORY]   (default build/litellm)
set -eu
directory=${1:-build/litellm}
version=${LITELLM_VERSION:-1.106.2}
python3 -m venv "$directory"
"$directory/bin/pip" install --quiet --disable-pip-version-check "litellm[proxy]==$version"
LITELLM_LOCAL_MODEL_COST_MAP=True "$directory/bin/litellm" --version
