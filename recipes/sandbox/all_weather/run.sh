#!/bin/sh
# All-weather maps on the sandbox, three seeds: stage 1, its labels, a Sentinel-1 student on them, and the same student on other labels.
#   sh recipes/sandbox/all_weather/run.sh runs/all-weather         # after `make build_noldo`, in the checkout; the same command goes on
#   sh recipes/sandbox/all_weather/run.sh runs/all-weather 3       # seed 3 alone, in another terminal or on another machine
# Everything is judged against truth on the val split of @NoL (13 places of the default build, first season), which nothing learns from or
# is stopped by. Seeds, tiles and settings were fixed before the first run of these seeds. About half an hour on one idle core.
set -eu
out=${1:-runs/all-weather} seeds=${2:-1 2 3}
here=$(dirname "$0")
store=results/sandbox truth=results/sandbox-truth
mkdir -p "$out"
[ -e "$truth/nol.json" ] || python -m sandbox truth "$store" --out "$truth"

keep() { # file, command...: its output, once it is whole
    file=$1
    shift
    [ -e "$file" ] || { "$@" > "$file.part" && mv "$file.part" "$file"; }
}

judge() { # run
    keep "$out/$1.json" \
        noldo evaluate "$out/$1" --subset nol --split val --label-store "$truth" --label-source truth --json
}

for seed in $seeds; do
    noldo self-train "$here/stage1.yaml" --out "$out/stage1-$seed" --set seed=$seed
    judge "stage1-$seed"
    noldo pseudo-label "$out/stage1-$seed" --store "$store" --out "$out/labels-$seed"
    keep "$out/of-labels-$seed.json" noldo compare-labels "$truth" --label-store "$out/labels-$seed" \
        --of truth --against pseudo_dynamic_world --split train --json
    noldo transfer "$here/stage2.yaml" --out "$out/pseudo-$seed" --set seed=$seed data.label_store="$out/labels-$seed"
    judge "pseudo-$seed"
    noldo transfer "$here/raw.yaml" --out "$out/raw-$seed" --set seed=$seed
    judge "raw-$seed"
    noldo transfer "$here/raw.yaml" --out "$out/truth-$seed" --set seed=$seed data.label_source=truth data.label_store="$truth"
    judge "truth-$seed"
done

python - "$out" > "$out/runs.csv" <<'PYTHON'
import csv, json, pathlib, sys

keys = ("oa", "miou", "mf1", "mean_recall", "mean_precision")
rows = csv.writer(sys.stdout, lineterminator="\n")
rows.writerow(["run", "seed", "split", "locations", "pixels", *keys, "miou_of_present_classes"])
for name in ("stage1", "pseudo", "raw", "truth"):
    for seed in (1, 2, 3):
        path = pathlib.Path(sys.argv[1]) / f"{name}-{seed}.json"
        if not path.exists():
            continue
        found = json.loads(path.read_text())
        told = [found[key] for key in ("split", "num_locations", "num_pixels")]
        scores = [found["scores"][key] for key in keys]
        rows.writerow([name, seed, *told, *scores, found["scores_of_present_classes"]["miou"]])
PYTHON
echo "$out/runs.csv"
