#!/usr/bin/env bash
# onedl-mmcv 2.3.6, pip 26.3, seen on 2026-11-30.
#
# One source distribution, one version, two kinds of package: its setup.py
# compiles its C++ operators if torch can be imported while it is built, and builds
# a wheel without any of them, for every platform, if not. pip's default
# isolation has no torch. So `pip install onedl-mmcv` succeeds in seconds without
# a compiler, says nothing, and the first `import mmcv.ops` fails; with
# --no-build-isolation the same line compiles for minutes. MMCV_WITH_OPS=1,
# which the documentation names for compiling, changes nothing under isolation.
#
# Output seen:
#   onedl_mmcv-2.3.6-py3-none-any.whl, compiled files: 0
#   with MMCV_WITH_OPS=1: onedl_mmcv-2.3.6-py3-none-any.whl, compiled files: 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/python" -m pip install -q 'pip==26.3'
build() {
  "$work/env/bin/python" -m pip wheel -q --no-cache-dir --no-deps --no-binary onedl-mmcv \
    -w "$work/$1" onedl-mmcv==2.3.6
  local wheel
  wheel=$(ls "$work/$1")
  echo "$wheel, compiled files: $("$work/env/bin/python" -m zipfile -l "$work/$1/$wheel" | grep -cE '\.(so|pyd)' || true)"
}
plain=$(build plain)
forced=$(MMCV_WITH_OPS=1 build forced)
echo "$plain"
echo "with MMCV_WITH_OPS=1: $forced"
expected='onedl_mmcv-2.3.6-py3-none-any.whl, compiled files: 0'
[ "$plain" = "$expected" ] && [ "$forced" = "$expected" ] || { echo changed; exit 1; }
