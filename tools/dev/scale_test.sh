#!/usr/bin/env bash
# Runs the tests of --engine ray, in an environment of their own over that of
# make test: Ray, and a server that stands in for S3, are not in its lock.
#
#   tools/dev/scale_test.sh [options of pytest]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

base=$(tools/dev/environment.sh test)
env="$base/scale"
python="$env/bin/python"
if [ ! -e "$env/.complete" ]; then
  rm -rf "$env"
  "$base/bin/python" -m venv "$env"
  # What the tests need otherwise is that of the environment.
  (cd "$base"/lib/python3.*/site-packages && pwd) \
    > "$(echo "$env"/lib/python3.*/site-packages)/base.pth"
  # botocore, which both stand-in and client need, wants an older dateutil.
  grep -v "^python-dateutil==" "$base/constraints.txt" > "$env/constraints.txt"
  "$python" -m pip install -q -c "$env/constraints.txt" \
    'ray[data]==2.60.0' s3fs 'moto[s3]' flask flask-cors
  touch "$env/.complete"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1
exec "$python" -m pytest tests/runtime/scale tests/apis/test_scale.py \
  tests/apis/test_evaluation_on_ray.py "$@"
