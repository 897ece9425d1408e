#!/usr/bin/env bash
# uv 0.13.9 and pip 26.3, Python 3.11 or later, seen on 2026-11-30.
#
# backports.strenum 1.3.1 declares Requires-Python with an upper bound. uv does
# not look at upper bounds: it resolves the name to 1.3.1 on a Python above the
# bound and installs it. pip leaves that release out and takes an older one. So
# a lock that uv wrote, without an error or a warning, is one that pip answers
# with ResolutionImpossible when the lock is its constraint file.
#
# Output seen:
#   uv resolves to backports-strenum==1.3.1
#   pip alone takes backports.strenum 1.2.8
#   pip with uv's lock: ResolutionImpossible
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "needs Python 3.11 or later, set PYTHON"; exit 1; }
"$python" -m venv "$work/env"
"$work/env/bin/python" -m pip install -q 'pip==26.3' 'uv==0.13.9'
echo backports.strenum > "$work/in.txt"
"$work/env/bin/uv" pip compile -q --no-header --no-annotate --python "$work/env/bin/python" \
  "$work/in.txt" -o "$work/lock.txt"
grep -qx 'backports-strenum==1.3.1' "$work/lock.txt" ||
  { echo "changed: uv resolves to $(cat "$work/lock.txt")"; exit 1; }
echo "uv resolves to $(cat "$work/lock.txt")"
alone=$("$work/env/bin/python" -m pip install -q --dry-run --report - backports.strenum 2>/dev/null |
  "$python" -c 'import json, sys; print(json.load(sys.stdin)["install"][0]["metadata"]["version"])')
[ "$alone" = 1.2.8 ] || { echo "changed: pip alone takes $alone"; exit 1; }
echo "pip alone takes backports.strenum $alone"
if "$work/env/bin/python" -m pip install -q --dry-run -c "$work/lock.txt" backports.strenum > "$work/log" 2>&1; then
  echo 'changed: pip takes the lock of uv'
  exit 1
fi
grep -q ResolutionImpossible "$work/log" || { echo "changed: $(tail -1 "$work/log")"; exit 1; }
echo "pip with uv's lock: ResolutionImpossible"
