#!/usr/bin/env bash
# onedl-mmengine 0.10.12 and mmengine 0.10.7, seen on 2026-11-30.
#
# DictAction, behind --cfg-options of every OpenMMLab tool, documents two ways
# to write a list, KEY=V1,V2 and KEY=[V1,V2], and that lists nest. Combined
# they do not: the parser takes the first and the last bracket of a value for
# a pair, whether or not they are one. Between them is then text whose brackets
# balance in number and not in order; no comma of it counts as outside of all
# brackets, so that the parser calls itself with the same text again.
#
#   value            what a reader expects    what comes out
#   [[1,2],[3,4]]    two lists                two lists
#   [1,2],3          a list and a number      a list and a number
#   [1,2],[3,4]      two lists                RecursionError
#   (1,2),(3,4)      two tuples               RecursionError
#   (640)            a number, as in Python   a tuple of one number
#
# Lists inside of lists are therefore written with the outer brackets.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/run.py" <<'P'
import sys

from mmengine.config import DictAction

EXPECTED = {
    '[[1,2],[3,4]]': [[1, 2], [3, 4]],
    '[1,2],3': [[1, 2], 3],
    '[1,2],[3,4]': RecursionError,
    '(1,2),(3,4)': RecursionError,
    '(640)': (640,),
}
found = {}
for value in EXPECTED:
    try:
        found[value] = DictAction._parse_iterable(value)
    except RecursionError:
        found[value] = RecursionError
    print(f'  {value}: {found[value]!r}')
sys.exit(found != EXPECTED)
P
for package in onedl-mmengine==0.10.12 mmengine==0.10.7; do
  echo "$package"
  "${PYTHON:-python3}" -m venv "$work/env"
  "$work/env/bin/python" -m pip install -q --no-deps "$package"
  "$work/env/bin/python" -m pip install -q numpy==2.4.6 addict==2.4.0 \
    opencv-python-headless==4.13.0.92 pyyaml rich termcolor yapf matplotlib
  "$work/env/bin/python" -W ignore "$work/run.py"
  rm -rf "$work/env"
done
echo "as described"
