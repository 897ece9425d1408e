#!/usr/bin/env bash
# Makes the development environment (dependencies only) and prints its folder.
#
#   tools/dev/environment.sh [demo|test|matrix|lint|docs]
#
# demo holds what training and prediction need, test adds what the tests need;
# both are one environment, which grows. lint and docs (the site) are environments
# of their own, without torch.
# Environments lie in the user's cache folder, keyed by Python's version and the
# requirement files, so that all clones share them. uv installs where it is on
# PATH, pip otherwise. Nothing is compiled: mmcv is built as pure Python, and
# rfdetr_mm/operators stands in for its compiled extension.
#
#   STACK=onedl|openmmlab    whose mmengine, mmcv and mmdet; onedl unless named
#   PYTHON=python3.12        interpreter to use
#   TORCH=2.4.1              another torch than the lock's, with its torchvision
#   TORCH_INDEX=URL_OR_DIR   index, or folder of wheels, that has torch's CPU builds
#   COMPILE_OPS=1            compile mmcv's operators (12 minutes, torch 2.9.1)
#   MMCV_FIND_LINKS=URL_OR_DIR  take mmcv's compiled wheel for torch 2.9.1 from there
#   RFDETR_MM_VENV=DIR       use this environment as it is, install nothing
#   RFDETR_MM_CACHE=DIR      instead of ~/.cache/rfdetr_mm
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${RFDETR_MM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rfdetr_mm}
group=${1:-demo}

die() { echo "error: $*" >&2; exit 1; }
step() { echo "[$1] $2 ($(date +%H:%M:%S))" >&2; }

case $group in
  demo|test|matrix|lint|docs) ;;
  *) die "the environment must be demo, test, matrix, lint or docs, got $group" ;;
esac
stack=${STACK:-onedl}
# Whether the environment has torch.
case $group in lint|docs) small=yes ;; *) small='' ;; esac
case $stack in
  onedl) requirements="$root/requirements"; pythons='3.10 3.11 3.12 3.13' ;;
  openmmlab) requirements="$root/requirements/openmmlab"; pythons=3.11 ;;
  *) die "STACK must be onedl or openmmlab, got $stack" ;;
esac

# --- an environment of the user's -------------------------------------------
check_imports='import torch, mmengine, mmcv.ops, mmdet'
# Prints the last line of what went wrong.
import_error() { "$1/bin/python" -W ignore -c "$check_imports" 2>&1 >/dev/null | tail -1; }
imports() { "$1/bin/python" -W ignore -c "$check_imports" >/dev/null 2>&1; }
if [ -n "${RFDETR_MM_VENV:-}" ]; then
  [ -n "$small" ] || imports "$RFDETR_MM_VENV" ||
    die "RFDETR_MM_VENV=$RFDETR_MM_VENV cannot import torch, mmengine, mmcv.ops and mmdet: $(import_error "$RFDETR_MM_VENV"). A pure mmcv needs $RFDETR_MM_VENV/bin/python rfdetr_mm/operators/setup.py once; a compiled one must be of this torch"
  echo "$RFDETR_MM_VENV"
  exit 0
fi

# --- the interpreter ----------------------------------------------------------
# shellcheck source=tools/dev/pythons.sh
source "$root/tools/dev/pythons.sh"
compiled=''
if [ "$stack" = onedl ] && [ -z "$small" ] && [ -n "${COMPILE_OPS:-}${MMCV_FIND_LINKS:-}" ]; then
  compiled=yes
  pythons=3.11
fi
if [ -n "${PYTHON:-}" ]; then
  version=$(version_of "$PYTHON") ||
    die "$PYTHON was not found; install one of Python $pythons or name another: make PYTHON=/path/to/python"
  python=$PYTHON
  [[ " $pythons " = *" $version "* ]] ||
    die "the environment needs one of Python $pythons, $PYTHON is $version; name another: make PYTHON=/path/to/python"
else
  # 3.11 first: the one that CI runs.
  for version in 3.11 3.12 3.13 3.10 none; do
    [[ " $pythons none " = *" $version "* ]] || continue
    python=$(find_python "$version") && break
  done
  [ "$version" != none ] ||
    die "none of Python $pythons was found on PATH or in pyenv; install one (apt-get install python3.11 python3.11-venv) or name one: make PYTHON=/path/to/python"
fi

if command -v uv >/dev/null; then installer=uv; else installer=pip; fi
[ $installer = uv ] || "$python" -c 'import venv, ensurepip' 2>/dev/null ||
  die "$python has no venv module; install it (Debian and Ubuntu: apt-get install python$version-venv) or uv (https://docs.astral.sh/uv)"

# --- which environment, and whether it is there --------------------------------
lock="$requirements/lock-$version.txt"
[ -z "$compiled" ] || lock="$requirements/compiled/lock-$version.txt"
[ "$group" != docs ] || lock="$root/requirements/docs/lock-$version.txt"
if [ "$group" = lint ]; then
  files=("$root/requirements/lint.txt")
elif [ "$group" = docs ]; then
  files=("$root/requirements/docs.txt" "$lock")
else
  files=("$requirements"/{demo,matrix,test,no_deps}.txt "$lock")
fi
key=$( { echo "$version ${TORCH:-} ${TORCH_INDEX:-} ${MMCV_FIND_LINKS:-}"; cat "${files[@]}"; } | sha256sum | cut -c1-12)
env="$cache/envs/$key"
done_with() { [ -e "$env/.complete-$1" ]; }
if done_with "$group"; then
  echo "$env"
  exit 0
fi

mkdir -p "$cache/envs" "$cache/wheels" 2>/dev/null && [ -w "$cache/envs" ] ||
  die "cannot write to $cache; set RFDETR_MM_CACHE to another folder"
exec 9>"$cache/lock"
flock -n 9 || { echo "another make builds an environment, waiting" >&2; flock 9; }
if done_with "$group"; then
  echo "$env"
  exit 0
fi

case $group in demo|matrix) needed=9 ;; test) needed=13 ;; lint|docs) needed=1 ;; esac
[ -z "${TORCH_INDEX:-}" ] || needed=$((needed / 2))
free_gib=$(($(df -Pk "$cache" | awk 'NR==2 {print $4}') / 1048576))
[ "$free_gib" -ge $needed ] ||
  die "the environment needs $needed GiB free in $cache, there are $free_gib; free some or set RFDETR_MM_CACHE"

if [ -n "${COMPILE_OPS:-}" ] && [ -z "${MMCV_FIND_LINKS:-}" ] && [ -z "$small" ]; then
  for tool in "${CXX:-g++}" ar make; do
    command -v "$tool" >/dev/null ||
      die "COMPILE_OPS=1 compiles mmcv and $tool was not found; install the build tools (apt-get install build-essential), name an index that has the wheel (MMCV_FIND_LINKS), or leave COMPILE_OPS out"
  done
fi

# --- installing ----------------------------------------------------------------
log="$cache/install.log"
: > "$log"
# What stops here, for whatever reason, leaves no half of an environment.
whole=''
remove_half() { [ -n "$whole" ] || done_with demo || rm -rf "$env"; }
trap remove_half EXIT
install() {
  local what=$1
  shift
  if [ $installer = uv ]; then
    uv pip install -q --python "$env/bin/python" "$@" 9>&- >>"$log" 2>&1 || failed "$what"
  else
    "$env/bin/python" -m pip --disable-pip-version-check install -q "$@" 9>&- >>"$log" 2>&1 || failed "$what"
  fi
}
failed() {
  local words variable
  words=$( { grep -iE 'error|failed|×|no space' "$log" || cat "$log"; } | grep -v '^ *$' | tail -1 | cut -c1-300)
  [ $installer = uv ] && variable=UV_DEFAULT_INDEX || variable=PIP_INDEX_URL
  die "$1 could not be installed: $words ($installer's messages are in $log). Without a network, name an index that can be reached: $variable"
}

make_venv() {
  rm -rf "$env"
  if [ $installer = uv ]; then
    uv venv -q --python "$python" "$env" >>"$log" 2>&1 || failed 'the virtual environment'
  else
    "$python" -m venv "$env" >>"$log" 2>&1 || failed 'the virtual environment'
  fi
}

# Another torch than the lock's: what comes with torch goes out of the lock.
constraints="$env/constraints.txt"
write_constraints() {
  if [ -z "${TORCH:-}" ]; then
    cp "$lock" "$constraints"
  else
    grep -vE '^(torch|torchvision|triton|sympy|setuptools|nvidia-.*|cuda-.*)==' "$lock" > "$constraints"
    # torchvision 0.15 came with torch 2.0, and so on.
    local minor=${TORCH#2.}
    echo "torch==$TORCH" >> "$constraints"
    echo "torchvision==0.$((${minor%%.*} + 15)).*" >> "$constraints"
  fi
}

install_torch() {
  local from=()
  if [ -n "${TORCH_INDEX:-}" ]; then
    if [ -d "$TORCH_INDEX" ]; then from=(--find-links "$TORCH_INDEX")
    elif [ $installer = uv ]; then from=(--index "$TORCH_INDEX")
    else from=(--extra-index-url "$TORCH_INDEX")
    fi
  fi
  install 'torch' -c "$constraints" "${from[@]}" torch torchvision
  [ -z "${TORCH_INDEX:-}" ] || "$env/bin/python" - <<'P' || die "torch of TORCH_INDEX=$TORCH_INDEX was not taken: $("$env/bin/python" -m pip show torch 2>/dev/null | sed -n 's/^Version: //p') comes from elsewhere; look whether the index has a CPU build of $(grep '^torch==' "$constraints") for Python $version"
from importlib.metadata import version
raise SystemExit('+' not in version('torch'))
P
}

pin() { sed -n "s/^$1==//p" "$requirements/demo.txt"; }
mmcv_name=onedl-mmcv
[ "$stack" = onedl ] || mmcv_name=mmcv
install_pure_mmcv() {
  # Built afresh: a wheel in the installer's cache can be a compiled one, of
  # another torch. mmcv 2.1.0 imports pkg_resources in its setup.py.
  echo 'setuptools<81' > "$env/build-constraints.txt"
  local options=(--no-deps --no-binary "$mmcv_name" "$mmcv_name==$(pin "$mmcv_name")")
  if [ $installer = uv ]; then
    install mmcv --no-cache --build-constraints "$env/build-constraints.txt" "${options[@]}"
  else
    # Its --build-constraint is of last year.
    install pip -c "$constraints" pip
    install mmcv --no-cache-dir --build-constraint "$env/build-constraints.txt" "${options[@]}"
  fi
}

install_compiled_mmcv() {
  local mmcv wheels build
  mmcv=$(pin "$mmcv_name")
  if [ -n "${MMCV_FIND_LINKS:-}" ]; then
    install mmcv --no-deps --only-binary=:all: --find-links "$MMCV_FIND_LINKS" "$mmcv_name==$mmcv"
    return
  fi
  # Kept: the installer's own cache does not know for which torch a wheel is.
  wheels="$cache/wheels/py$version-torch$(sed -n 's/^torch==//p' "$constraints")-mmcv$mmcv-$(uname -m)"
  if ! compgen -G "$wheels/*mmcv-*.whl" >/dev/null; then
    echo "      compiling with $(nproc) jobs, about 12 minutes on 2 cores; kept in $wheels" >&2
    install 'what compiles mmcv' 'setuptools<81' wheel ninja psutil packaging pip
    build=$(mktemp -d "$cache/wheels/build.XXXXXX")
    (while sleep 60; do echo "      compiling ($(date +%H:%M:%S))" >&2; done) 9>&- & ticker=$!
    MMCV_WITH_OPS=1 MAX_JOBS=$(nproc) "$env/bin/python" -m pip wheel -q --no-build-isolation --no-deps --no-cache-dir --no-binary "$mmcv_name" -w "$build" "$mmcv_name==$mmcv" >>"$log" 2>&1 9>&- ||
      { kill $ticker; rm -rf "$build"; die "mmcv did not compile; the compiler's messages are in $log"; }
    kill $ticker
    mkdir -p "$wheels" && mv "$build"/*mmcv-*.whl "$wheels/"
    rm -rf "$build"
  fi
  install mmcv --no-deps "$wheels"/*mmcv-*.whl
}

make_demo() {
  step 1 "virtual environment in $env"
  make_venv
  write_constraints
  step 2 'torch (large downloads)'
  install_torch
  step 3 "mmcv, $([ -n "$compiled" ] && echo 'operators compiled' || echo 'nothing compiled')"
  if [ -n "$compiled" ]; then install_compiled_mmcv; else install_pure_mmcv; fi
  step 4 'mmengine, mmdet and the rest'
  install 'what requirements/demo.txt names' -c "$constraints" -r "$requirements/demo.txt"
  [ -n "$compiled" ] || "$env/bin/python" "$root/rfdetr_mm/operators/setup.py" >>"$log" 2>&1 ||
    die "the operators could not be set up: $(tail -1 "$log")"
  imports "$env" || die "the finished environment does not import: $(import_error "$env")"
  touch "$env/.complete-demo"
}

echo "making the environment $group with $installer: minutes with pip, less than one with uv and a warm cache" >&2
if [ "$group" = lint ]; then
  make_venv
  install 'what requirements/lint.txt names' -r "$root/requirements/lint.txt"
elif [ "$group" = docs ]; then
  make_venv
  install 'what requirements/docs.txt names' -c "$lock" -r "$root/requirements/docs.txt"
else
  done_with demo || make_demo
fi
if [ "$group" = test ] || [ "$group" = matrix ]; then
  step 5 "what the tests need (requirements/$group.txt)"
  install "what requirements/$group.txt names" -c "$constraints" -r "$requirements/demo.txt" -r "$requirements/$group.txt"
fi
if [ "$group" = test ]; then
  install 'what requirements/no_deps.txt names' --no-deps -r "$requirements/no_deps.txt"
fi
touch "$env/.complete-$group"
whole=yes
echo "$env"
