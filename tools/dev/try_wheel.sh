#!/usr/bin/env bash
# Installs a wheel as people do, in a fresh environment, and uses it from an
# empty folder without the clone: the command, the demo's data, mim, and a
# prediction with the weights that mim has trained.
#
#   tools/dev/try_wheel.sh WHEEL [EXTRA]   EXTRA is onedl unless named
#   PYTHON=python3.11                      interpreter to use
#   INSTALLER=pip|uv                       pip unless named
set -euo pipefail

die() { echo "error: $*" >&2; exit 1; }
step() { echo "== $* ($(date +%H:%M:%S))"; }

[ $# -ge 1 ] && [ -f "$1" ] || die "name a wheel that exists: tools/dev/try_wheel.sh dist/NAME.whl"
wheel=$(realpath "$1")[${2:-onedl}]
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/empty"
cd "$work/empty"
unset PYTHONPATH
export PYTHONWARNINGS=ignore

step "installing $wheel with ${INSTALLER:-pip}"
case ${INSTALLER:-pip} in
  pip)
    "$python" -m venv "$work/env"
    "$work/env/bin/python" -m pip install -q --disable-pip-version-check "$wheel"
    ;;
  uv)
    uv venv -q --seed --python "$python" "$work/env"
    uv pip install -q --python "$work/env/bin/python" "$wheel"
    ;;
  *) die "INSTALLER must be pip or uv, got $INSTALLER" ;;
esac
bin=$work/env/bin

step "rfdetr-mm info"
"$bin/rfdetr-mm" --help > help.txt
"$bin/rfdetr-mm" info
"$bin/rfdetr-mm" info --torch | grep threads

step "mim search rfdetr_mm"
"$bin/mim" search rfdetr_mm --json models.json > log.txt 2>&1 || { cat log.txt; die "mim search failed"; }
grep -q rfdetr_nano_coco models.json || die "mim search does not know rfdetr_nano_coco"

step "the demo's data and mim train rfdetr_mm"
"$bin/rfdetr-mm" demo-data shapes data/tiny_shapes 2> /dev/null
options=(
  data_root=data/tiny_shapes resolution=64 load_from=None
  train_cfg.max_epochs=1 model.bbox_head.num_queries=8
  model.bbox_head.num_groups=2 model.test_cfg.max_per_img=8
  train_dataloader.dataset.indices=16 val_dataloader.dataset.indices=8
)
for split in train val test; do
  options+=("${split}_dataloader.num_workers=0" "${split}_dataloader.persistent_workers=False")
done
"$bin/mim" train rfdetr_mm rfdetr_nano_custom.py --launcher none --work-dir work --cfg-options "${options[@]}" > log.txt 2>&1 ||
  { tail -n 40 log.txt; die "mim train failed"; }
grep -q 'Training finished successfully' log.txt || { tail -n 40 log.txt; die "mim train did not finish"; }

step "rfdetr-mm predict"
"$bin/rfdetr-mm" predict data/tiny_shapes/images/test_0001.png --weights work/epoch_1.pth --threshold 0.01 --out-dir found 2> log.txt ||
  { cat log.txt; die "rfdetr-mm predict failed"; }
[ -f found/images/test_0001.png ] || die "rfdetr-mm predict has painted nothing"
step "everything works"
