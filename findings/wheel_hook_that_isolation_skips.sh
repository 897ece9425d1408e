#!/usr/bin/env bash
# setuptools 84.2.1 and pip 26.3, seen on 2026-11-30.
#
# A project whose setup.py overrides bdist_wheel.egg2dist, the step that turns
# .egg-info into .dist-info, puts a file into its wheel there. `setup.py
# bdist_wheel` calls the override. `pip wheel` does not: pip asks for the
# metadata first, hands its folder to the build, and setuptools copies that
# folder instead of calling egg2dist. Both wheels have the same name and
# version, nothing is said, and one of them lacks the file.
#
# Output seen:
#   setup.py bdist_wheel: extra/hello.txt is there
#   pip wheel:            extra/hello.txt is missing
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/python" -m pip install -q 'pip==26.3' 'setuptools==84.2.1'
mkdir "$work/project"
cd "$work/project"
cat > pyproject.toml <<'P'
[build-system]
requires = ["setuptools==84.2.1"]
build-backend = "setuptools.build_meta"
P
cat > setup.py <<'P'
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class Wheel(bdist_wheel):
    def egg2dist(self, egginfo_path, distinfo_path):
        super().egg2dist(egginfo_path, distinfo_path)
        folder = Path(distinfo_path).parent / 'extra'
        folder.mkdir(exist_ok=True)
        (folder / 'hello.txt').write_text('hello')


setup(name='hooked', version='1', py_modules=['hooked'],
      cmdclass={'bdist_wheel': Wheel})
P
touch hooked.py
"$work/env/bin/python" -W ignore setup.py -q bdist_wheel -d "$work/direct" 2>/dev/null
rm -rf build ./*.egg-info
"$work/env/bin/python" -m pip wheel -q --no-deps -w "$work/by_pip" .
has() { "$work/env/bin/python" -m zipfile -l "$1"/*.whl > "$work/list" && grep -q extra/hello.txt "$work/list"; }
has "$work/direct" || { echo 'changed: setup.py bdist_wheel skips the hook, too'; exit 1; }
echo 'setup.py bdist_wheel: extra/hello.txt is there'
if has "$work/by_pip"; then echo 'changed: pip wheel calls the hook'; exit 1; fi
echo 'pip wheel:            extra/hello.txt is missing'
