#!/usr/bin/env bash
# Resolves the requirement files anew, into one lock per Python; needs uv.
# Versions of today's index, so look at the difference before it is committed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../requirements"
command -v uv >/dev/null ||
  { echo 'error: uv was not found; install it (https://docs.astral.sh/uv)' >&2; exit 1; }

# lock FILE PYTHON REQUIREMENTS...
lock() {
  local out=$1 python=$2
  shift 2
  echo 'setuptools<81' |
    uv pip compile -q --no-header --no-annotate --python-version "$python" \
      --python-platform x86_64-manylinux_2_28 --build-constraints - \
      "$@" -o "$out"
  echo "$out"
}

for version in 3.10 3.11 3.12 3.13; do
  lock "lock-$version.txt" $version {demo,matrix,test}.txt torch.txt
  lock "docs/lock-$version.txt" $version docs.txt
done
lock openmmlab/lock-3.11.txt 3.11 openmmlab/{demo,matrix,test}.txt
# mmcv 2.3.6 compiles with torch 2.9, not with 2.14 (its headers want C++20).
lock compiled/lock-3.11.txt 3.11 {demo,matrix,test}.txt compiled/torch.txt
