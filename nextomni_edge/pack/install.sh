#!/bin/bash
# Installs what lies beside this script on a Jetson, compiles its engines there, replays the golden trace on them, and answers a prompt.
set -euo pipefail

usage="usage: ./install.sh [--dry-run] [FOLDER]

  FOLDER      where the environment goes (./environment)
  --dry-run   print the steps, and do none
  --help      this text

  PYTHON      the interpreter to use (python3, JetPack's, which has TensorRT's own bindings)
  WHEELS      a folder of wheels, for a device without a network. The folder wheels next to this script is taken where it is.
  PROMPT      what the last step says to the model (what is this?)

Exit codes: 0 done, 1 a step failed, 2 usage, 4 the engines' tokens differ, 5 Python, TensorRT or a library is missing."

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
prompt=${PROMPT:-what is this?}
answer=
dry_run=
case ${1-} in
--help | -h)
    printf '%s\n' "$usage"
    exit 0
    ;;
--dry-run)
    dry_run=yes
    shift
    ;;
esac

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

# The unit of systemd with this machine's paths and user, where a % is a specifier of systemd's own.
write_unit() {
    local text
    text=$(<"$here/nextomni-edge.service.in")
    text=${text//@ENVIRONMENT@/${environment//%/%%}}
    text=${text//@HERE@/${here//%/%%}}
    printf '%s\n' "${text//@USER@/$(id -un)}" >"$here/nextomni-edge.service"
}

[[ ${1-} != -* ]] || fail 2 "found option $1, expected --dry-run or --help"
[[ $# -le 1 ]] || fail 2 "found $# arguments, expected at most one folder"
environment=${1:-$here/environment}
[[ $environment == /* ]] || environment=$PWD/$environment
if [[ -z $dry_run ]]; then
    command -v -- "$python" >/dev/null || fail 5 "no $python here; set PYTHON to JetPack's interpreter"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail 5 "$("$python" --version) is too old, 3.10 is the least; take JetPack 6 or newer, or set PYTHON"
    "$python" -c 'import tensorrt' 2>/dev/null ||
        fail 5 "$python has no TensorRT; install JetPack's bindings: sudo apt-get install python3-libnvinfer"
fi
if command -v nvpmodel >/dev/null; then
    printf 'power: %s; for the shortest builds and steps: sudo nvpmodel -m 0 && sudo jetson_clocks\n' "$(nvpmodel -q 2>/dev/null | head -n 1)"
fi

pip_options=(--disable-pip-version-check --quiet)
[[ -n ${WHEELS-} || ! -d $here/wheels ]] || WHEELS=$here/wheels
if [[ -n ${WHEELS-} ]]; then
    pip_options+=(--no-index --find-links "$WHEELS")
fi
wheels=("$here"/nextomni_edge-*.whl)
edge="$environment/bin/nextomni-edge"
on_engines=(--runtime tensorrt --cache "$here/engines")
first=(--text "$prompt")
[[ -z $answer ]] || first+=(-o "$here/first$answer")

step "$python" -m venv --system-site-packages "$environment" # TensorRT's bindings belong to the system's Python
step "$environment/bin/python" -m pip install "${pip_options[@]}" "${wheels[0]}[quantize,serve]" # what reads a quantised bundle, and serves it
step "$edge" doctor
step "$edge" compile "$here/bundle" --cache "$here/engines"
step "$edge" verify "$here/bundle" "${on_engines[@]}"
step write_unit
printf 'a server that starts with the machine: sudo cp %q /etc/systemd/system/ && sudo systemctl enable --now nextomni-edge\n' "$here/nextomni-edge.service"
printf 'the model says to "%s":\n' "$prompt"
step "$edge" run "$here/bundle" "${on_engines[@]}" "${first[@]}"
