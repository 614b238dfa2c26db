#!/usr/bin/env bash
# What inversions cost on a GPU, from a checkout with `pip install -e '.[dev]'`. It has not run on a real one yet; the 32
# compilations, which come last, may take half an hour. What is finished when it is stopped stays in FOLDER.
# Writes the figures of each run, gpu_report.json and gpu_report.md to the folder given (default gpu_report).
#
#   experiments/gpu_report.sh [FOLDER]
#   DEVICE=cpu SIZE=tiny experiments/gpu_report.sh    tries every line without a GPU, with sizes that mean nothing
#   DETINV="python -m tests.pretended" SIZE=tiny experiments/gpu_report.sh    the same on a pretended GPU
set -uo pipefail
out=${1:-gpu_report}
device=${DEVICE:-cuda}
read -ra detinv <<<"${DETINV:-detinv}"
export WANDB_MODE=disabled
mkdir -p "$out"
failed=()

# run NAME COMMAND...: a failure is reported at the end, and the others run all the same
run() {
    echo "== $1: ${*:2}"
    "${@:2}" >"$out/$1.log" 2>&1 || { failed+=("$1"); tail -n 3 "$out/$1.log"; }
}

if [ "${SIZE:-full}" = tiny ]; then
    layouts=1 small='[1]' large='[1]' sweep='[1]' steps=2
    turns=(rounds=2 steps_per_round=1 warmup=0)
    families='[shapes_retinanet]'
    sides=(64)
    cells=(inversion.layouts=1 inversion.repeats=1 inversion.steps=2 inversion.against_steps=2)
    modes=()
else
    layouts=100 small='[8,64]' large='[16]' sweep='[1,4,16,64,256]' steps=120
    turns=(rounds=8 steps_per_round=4 warmup=3)
    families='[shapes_retinanet,shapes_fcos,shapes_fasterrcnn,shapes_maskrcnn]'
    sides=(320 800)
    cells=(inversion.layouts=32 inversion.repeats=1)
    modes=(default reduce-overhead)
fi
accelerator=$([ "$device" = cuda ] && echo gpu || echo "$device")

if [ "$device" = cuda ]; then
    run suite python -m pytest -q -m gpu
fi

# A step against the bare network, in both precisions: eager, and in the end compiled and with CUDA graphs.
steps_in() {
    for precision in 32-true bf16-mixed; do
        run "step_${precision}_$1" "${detinv[@]}" bench step "detector=$families" "batch_sizes=$small" "${turns[@]}" \
            "device=$device" "precision=$precision" "compile_mode=$1" "out_dir=$out/step_${precision}_$1"
    done
}
steps_in null

# Images times steps per second of ResNet-50 detectors.
for side in "${sides[@]}"; do
    for detector in retinanet_resnet50_fpn fasterrcnn_resnet50_fpn; do
        run "r50_${detector%%_*}_$side" "${detinv[@]}" bench step "detector=$detector" detector.weights=random \
            "detector.image_size=[$side,$side]" layout=random "batch_sizes=$large" "${turns[@]}" "device=$device" \
            precision=bf16-mixed "out_dir=$out/r50_${detector%%_*}_$side"
    done
done

run batch_sizes "${detinv[@]}" bench step detector=shapes_retinanet "batch_sizes=$sweep" "${turns[@]}" "device=$device" \
    precision=bf16-mixed "out_dir=$out/batch_sizes"

run time_to_ap90 "${detinv[@]}" bench inversion "device=$device" "${cells[@]}" inversion.reference_steps=0 \
    "out_dir=$out/time_to_ap90"

run table1 "${detinv[@]}" run table1_transfer "layout.count=$layouts" preset=fast "steps=$steps" batch_size=64 \
    "trainer.accelerator=$accelerator" trainer.precision=bf16-mixed logger=none "out_dir=$out/table1"

for mode in "${modes[@]}"; do
    steps_in "$mode"
done

run report python -m detinv.benchmarks.gpu_report "$out"
cat "$out/gpu_report.md" 2>/dev/null
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]} (see $out/NAME.log)"
    exit 1
fi
