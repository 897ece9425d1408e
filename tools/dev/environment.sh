#!/usr/bin/env bash
# Makes the development environment (dependencies only) and prints its folder.
#
# The environment lies in the user's cache folder, keyed by Python's version
# and the requirement files of its stack, so that all clones share it. mmcv's
# wheel is built once per Python, torch and mmcv version and kept beside it.
#
#   STACK=onedl|openmmlab        whose mmengine, mmcv and mmdet; onedl unless named
#   PYTHON=python3.11            interpreter to use
#   RFDETR_MM_VENV=DIR           use this environment as it is, install nothing
#   RFDETR_MM_CACHE=DIR          instead of ~/.cache/rfdetr_mm
#   MMCV_FIND_LINKS=URL_OR_DIR   take mmcv's wheel from there, do not compile
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${RFDETR_MM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rfdetr_mm}
steps=7

die() { echo "error: $*" >&2; exit 1; }
step() { echo "[$1/$steps] $2 ($(date +%H:%M:%S))" >&2; }

stack=${STACK:-onedl}
case $stack in
  onedl) requirements="$root/requirements" ;;
  openmmlab) requirements="$root/requirements/openmmlab" ;;
  *) die "STACK must be onedl or openmmlab, got $stack" ;;
esac

check_imports='import torch, mmengine, mmcv.ops, mmdet'
if [ -n "${RFDETR_MM_VENV:-}" ]; then
  "$RFDETR_MM_VENV/bin/python" -c "$check_imports" >&2 ||
    die "RFDETR_MM_VENV=$RFDETR_MM_VENV lacks torch, mmengine, mmcv with ops or mmdet"
  echo "$RFDETR_MM_VENV"
  exit 0
fi

python=${PYTHON:-python3.11}
command -v "$python" >/dev/null && "$python" -c '' 2>/dev/null ||
  die "$python was not found; install Python 3.11 or name one: make PYTHON=/path/to/python3.11"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$version" = 3.11 ] ||
  die "the pinned environment needs Python 3.11, $python is $version; name another: make PYTHON=/path/to/python3.11"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  die "$python has no venv module (Debian and Ubuntu: apt-get install python3.11-venv)"

key=$( { echo "$version"; cat "$requirements"/*.txt; } | sha256sum | cut -c1-12)
env="$cache/envs/$key"
if [ -e "$env/.complete" ]; then
  echo "$env"
  exit 0
fi

mkdir -p "$cache/envs" "$cache/wheels" || die "cannot write to $cache; set RFDETR_MM_CACHE to another folder"
exec 9>"$cache/lock"
flock -n 9 || { echo "another make builds the environment, waiting" >&2; flock 9; }
if [ -e "$env/.complete" ]; then
  echo "$env"
  exit 0
fi

pin() { sed -n "s/^$1==//p" "$requirements/$2.txt"; }
IFS='=' read -r mmcv_name _ mmcv < "$requirements/mmcv.txt"
wheels="$cache/wheels/py$version-torch$(pin torch torch)-mmcv$mmcv-$(uname -m)"
have_mmcv() { compgen -G "$wheels/*mmcv-*.whl" >/dev/null; }
if ! have_mmcv && [ -z "${MMCV_FIND_LINKS:-}" ]; then
  command -v "${CXX:-g++}" >/dev/null ||
    die "mmcv has to be compiled and ${CXX:-g++} was not found; install a C++ compiler (apt-get install g++) or set MMCV_FIND_LINKS to an index that has the wheel"
  for tool in ar make; do
    command -v $tool >/dev/null || die "$tool was not found; install the build tools (apt-get install build-essential)"
  done
fi
free_gib=$(($(df -Pk "$cache" | awk 'NR==2 {print $4}') / 1048576))
[ "$free_gib" -ge 14 ] || die "the environment needs 14 GiB free in $cache, there are $free_gib; free some or set RFDETR_MM_CACHE"

pip() { "$env/bin/python" -m pip --disable-pip-version-check "$@" >&2; }
echo "making the environment in $env (20 to 30 minutes the first time, 5 when mmcv's wheel is there)" >&2
step 1 "virtual environment and build tools"
rm -rf "$env"
"$python" -m venv "$env"
lock=(-c "$requirements/lock.txt")
[ -s "$requirements/lock.txt" ] || lock=()
pip install -q "${lock[@]}" -r "$requirements/build.txt"
step 2 "torch (large downloads)"
pip install -q "${lock[@]}" -r "$requirements/torch.txt"
step 3 "test tools"
pip install -q "${lock[@]}" -r "$requirements/test.txt" -r "$requirements/torch.txt"
step 4 "mmcv $mmcv"
if [ -n "${MMCV_FIND_LINKS:-}" ]; then
  pip install -q "${lock[@]}" --only-binary=:all: --find-links "$MMCV_FIND_LINKS" "$mmcv_name==$mmcv"
else
  if ! have_mmcv; then
    echo "      compiling its operators with $(nproc) jobs, about 12 minutes on 2 cores; kept in $wheels" >&2
    build=$(mktemp -d "$cache/wheels/build.XXXXXX")
    trap 'rm -rf "$build"' EXIT
    (while sleep 60; do echo "      compiling ($(date +%H:%M:%S))" >&2; done) 9>&- & ticker=$!
    MMCV_WITH_OPS=1 MAX_JOBS=$(nproc) pip wheel -q --no-build-isolation --no-deps --no-binary "$mmcv_name" -w "$build" "$mmcv_name==$mmcv" ||
      { kill $ticker; die "mmcv did not compile; the compiler's messages are above"; }
    kill $ticker
    mkdir -p "$wheels" && mv "$build"/*mmcv-*.whl "$wheels/"
  fi
  pip install -q "${lock[@]}" "$wheels"/*mmcv-*.whl
fi
step 5 "mmengine, mmdet, mmdeploy and mim"
pip install -q "${lock[@]}" --no-build-isolation -r "$requirements/mm.txt" -r "$requirements/torch.txt"
pip install -q --no-build-isolation --no-deps -r "$requirements/no_deps.txt"
step 6 "deployment backends, web page and search"
pip install -q "${lock[@]}" -r "$requirements/deploy.txt" -r "$requirements/apis.txt" -r "$requirements/torch.txt"
step 7 "import check"
"$env/bin/python" -c "$check_imports" >&2 || die "the finished environment does not import; delete $env and try again"
touch "$env/.complete"
echo "$env"
