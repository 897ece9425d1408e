#!/usr/bin/env bash
# label-studio-ml 1.0.9 and label-studio-sdk 2.1.2, Python 3.11, seen on
# 2026-11-30.
#
# Label Studio's library for model backends (the newest one on PyPI) requires
# both `attrs` and `attr==0.3.1`. The second is an unrelated project with one
# file, attr.py; the module `attr` that everyone means belongs to the first, as
# a folder. Which of the two is imported depends on where they lie:
#
#   both in one folder               the folder wins, all is well
#   attrs in a folder further back   attr.py wins; jsonschema, and with it
#   on sys.path (a system's, a base  label-studio-sdk, cannot be imported:
#   environment's)                   cannot import name 'NOTHING' from 'attr'
#
# `pip check` and `pip install` find nothing wrong, in either case.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install -q --target "$work/base" label-studio-sdk==2.1.2
"$python" -m pip install -q --target "$work/ml" --no-deps label-studio-ml==1.0.9
cat "$work"/ml/label_studio_ml-*/METADATA | grep '^Requires-Dist: attr'
grep -q '^Requires-Dist: attr (==0.3.1)$' "$work"/ml/label_studio_ml-*/METADATA
grep -q '^Requires-Dist: attrs' "$work"/ml/label_studio_ml-*/METADATA
"$python" -m pip install -q --target "$work/ml" --no-deps attr==0.3.1
try() { # folders on sys.path
  PYTHONPATH=$1 "$python" -c 'import label_studio_sdk.label_interface' 2>&1 |
    tail -n 1 || true
}
alone=$(try "$work/base")
beside=$(try "$work/ml:$work/base")
echo "without: '$alone'"
echo "with:    '$beside'"
test -z "$alone"
test "${beside#*cannot import name \'NOTHING\'}" != "$beside"
cp "$work/ml/attr.py" "$work/base/"
both=$(try "$work/base")
echo "in one folder: '$both'"
test -z "$both"
echo "as described"
