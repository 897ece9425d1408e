#!/usr/bin/env bash
# Builds the source distribution and, from it, the wheel as pip builds them (in
# isolation), checks both and starts the command in a fresh environment that
# has neither torch nor a stack.
#
#   tools/dev/package.sh [DIST]   DIST is dist/ unless named, and must be empty
#   PYTHON=python3.11             interpreter to use
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
die() { echo "error: $*" >&2; exit 1; }

python=${PYTHON:-python3}
dist=${1:-$root/dist}
mkdir -p "$dist"
dist=$(cd "$dist" && pwd)
[ -z "$(ls -A "$dist")" ] || die "$dist is not empty; remove what is in it, or name another folder"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/tools" || die "$python cannot make a virtual environment"
"$work/tools/bin/python" -m pip install -q --disable-pip-version-check build twine
"$work/tools/bin/python" -m build --outdir "$dist" "$root" > "$work/log" ||
  { tail -n 40 "$work/log" >&2; die "the build failed, see above"; }
rm -rf "$root/build" "$root"/*.egg-info
"$work/tools/bin/python" -m twine check --strict "$dist"/*
"$python" "$root/tools/dev/check_package.py" "$dist"

"$python" -m venv "$work/bare"
"$work/bare/bin/python" -m pip install -q --disable-pip-version-check "$dist"/*.whl
cd "$work"
"$work/bare/bin/rfdetr-mm" --help > /dev/null
"$work/bare/bin/rfdetr-mm" info > /dev/null
said=$("$work/bare/bin/python" -c 'import rfdetr_mm' 2>&1) && die "rfdetr_mm was imported without torch"
[[ $said == *"pip install 'rfdetr_mm[onedl]'"* ]] || die "import rfdetr_mm without torch said: $said"
echo "the command starts without torch, and import rfdetr_mm names the extra"
