#!/bin/bash
# Installs what lies beside this script on a Jetson, compiles its engines there, and replays the golden trace on them.
#
#   ./install.sh [--dry-run] [FOLDER]     FOLDER: where the environment goes (./environment)
#
#   PYTHON   the interpreter to use (python3, JetPack's, which has TensorRT's own bindings)
#   WHEELS   a folder of wheels, for a device without a network: nothing else is then asked
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
dry_run=
if [[ ${1-} == --dry-run ]]; then
    dry_run=yes
    shift
fi
environment=${1:-$here/environment}

fail() {
    printf 'error: %s\n' "$2" >&2
    exit "$1"
}

step() {
    printf '+'
    printf ' %q' "$@"
    printf '\n'
    [[ -n $dry_run ]] || "$@"
}

[[ $# -le 1 ]] || fail 2 "found $# arguments, expected at most one folder"
if [[ -z $dry_run ]]; then
    command -v -- "$python" >/dev/null || fail 5 "no $python here; set PYTHON to JetPack's interpreter"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail 5 "$("$python" --version) is too old, 3.11 is the least; take a JetPack whose Python is newer, or set PYTHON"
    "$python" -c 'import tensorrt' 2>/dev/null ||
        fail 5 "$python has no TensorRT; install JetPack's bindings: sudo apt-get install python3-libnvinfer"
fi

pip_options=(--disable-pip-version-check --quiet)
if [[ -n ${WHEELS-} ]]; then
    pip_options+=(--no-index --find-links "$WHEELS")
fi
wheels=("$here"/nextomni_edge-*.whl)
edge="$environment/bin/nextomni-edge"

step "$python" -m venv --system-site-packages "$environment" # TensorRT's bindings belong to the system's Python
step "$environment/bin/python" -m pip install "${pip_options[@]}" "${wheels[0]}[quantize]" # what reads a quantised bundle
step "$edge" doctor
step "$edge" compile "$here/bundle" --cache "$here/engines"
step "$edge" verify "$here/bundle" --runtime tensorrt --cache "$here/engines"
printf 'ready: %q run %q --runtime tensorrt --cache %q --text "what is this?"\n' "$edge" "$here/bundle" "$here/engines"
