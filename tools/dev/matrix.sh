#!/usr/bin/env bash
# Runs the core tests on the corners of what is supported, one environment at a
# time: it is made, used and deleted. What has ended is kept in work_dirs/matrix
# by commit, so that a stopped run goes on where it was; the table is printed
# at the end and written there.
#
#   PYTHONS='/path/to/python3.13 …'   interpreters, beside PATH's and pyenv's
#   WORKERS=2                         processes of pytest; 0 for this one
#   ONLY='3.10:2.4.1 3.13:2.14.1'     these pairs of Python and torch alone
#   RFDETR_MM_CACHE=DIR               where the environments are made
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
# shellcheck source=tools/dev/pythons.sh
source tools/dev/pythons.sh

# Lowest and highest torch of the lowest, the middle and the highest Python;
# the last row is OpenMMLab's stack. torch 2.5 has wheels for Python 3.13, but
# torchvision 0.20, which belongs to it, has none.
pairs=${ONLY:-3.10:2.4.1 3.10:2.14.1 3.12:2.4.1 3.12:2.14.1 3.13:2.6.0 3.13:2.14.1 3.11:2.1.2}
tests=(tests/models tests/checkpoints tests/operators tests/apis/command_line)
training=tests/tools/test_train_test.py

commit=$(git rev-parse --short HEAD)
[ -z "$(git status --porcelain)" ] || commit+=-changed
results="$root/work_dirs/matrix/$commit"
mkdir -p "$results"
cache=${RFDETR_MM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rfdetr_mm}/matrix

# The last line of pytest, without its frame and its time.
outcome() { grep -E '[0-9]+ (passed|failed|error)' "$1" | tail -1 | sed -E 's/^=+ //; s/ =+$//; s/ in [0-9.]+s.*//'; }

run_pair() {
  local version=$1 torch=$2 name=$3 stack=onedl python env log tested trained
  log="$results/$name.log"
  [ "$torch" != 2.1.2 ] || stack=openmmlab
  python=$(find_python "$version") || { echo "| $version | $torch | $stack | not run: no Python $version was found | |" > "$results/$name.row"; return; }
  rm -rf "$cache"
  echo "== Python $version, torch $torch, $stack ($(date +%H:%M:%S)); log: $log"
  if ! env=$(STACK=$stack PYTHON=$python TORCH=$([ $stack = openmmlab ] || echo "$torch") RFDETR_MM_CACHE=$cache RFDETR_MM_VENV='' tools/dev/environment.sh matrix 2> >(tee "$log" >&2)); then
    echo "| $version | $torch | $stack | no environment: $(tail -1 "$log") | |" > "$results/$name.row"
    return
  fi
  export PYTHONPATH="$root" HF_HUB_OFFLINE=1 MPLBACKEND=Agg
  "$env/bin/python" -W ignore setup.py -q link_mim
  "$env/bin/python" -m pytest -q -m 'not slow' -n "${WORKERS:-2}" "${tests[@]}" > "$log" 2>&1 || true
  tested=$(outcome "$log")
  "$env/bin/python" -m pytest -q -m 'not slow' "$training" > "$results/$name-training.log" 2>&1 || true
  trained=$(outcome "$results/$name-training.log")
  echo "| $("$python" -c 'import platform; print(platform.python_version())') | $("$env/bin/python" -c 'from importlib.metadata import version; print(version("torch"), version("torchvision"), version("numpy"), sep=" | ")') | $stack | ${tested:-no result, see $log} | ${trained:-no result} |" > "$results/$name.row"
  cat "$results/$name.row"
  rm -rf "$cache"
}

for pair in $pairs; do
  name=py${pair/:/-torch}
  [ -e "$results/$name.row" ] || run_pair "${pair%:*}" "${pair#*:}" "$name"
done
{
  echo '| Python | torch | torchvision | numpy | stack | models, checkpoints, operators, command line | training and test |'
  echo '|---|---|---|---|---|---|---|'
  for pair in $pairs; do cat "$results/py${pair/:/-torch}.row"; done
} | tee "$results/table.md"
! grep -qE 'failed|error|no environment|no result' "$results/table.md"
