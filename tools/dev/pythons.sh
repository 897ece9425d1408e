# Finds interpreters; sourced by environment.sh and matrix.sh.

# Prints 3.11 for a Python 3.11.x; fails where it cannot be run (a shim of
# pyenv without a version behind it, for example).
version_of() {
  command -v "$1" >/dev/null &&
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# Prints an interpreter of a version: one of $PYTHONS, on PATH, or in pyenv.
find_python() {
  local candidate
  for candidate in ${PYTHONS:-} "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
    if [ "$(version_of "$candidate")" = "$1" ]; then
      echo "$candidate"
      return
    fi
  done
  return 1
}
