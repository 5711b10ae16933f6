#!/usr/bin/env bash
#
# One point of a sweep: train, infer, grade. run_sweep.sh and its Slurm jobs start it, with the point's lock held:
#
#     python sweep/points.py lock OUT/NAME/.lock bash sweep/point.sh OUT NAME SUBMISSION STARTED
#
# SUBMISSION is the file to train; STARTED is when the call began, as seconds since 1970. Everything is in OUT/NAME:
# the run, output/, log.txt, and at the end grade_result.json, or else the file `failed` with the reason.

set -u
HERE=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
out=$1 name=$2 submission=$3 started=$4 dir=$1/$2

# What is the same for all points of a folder: DATA, and in ARGS the further arguments for train.py.
read_settings() {
    ARGS=()
    {
        read -r _ # SUBMISSION: the one to train is given, a copy of it
        IFS= read -r DATA
        while IFS= read -r line; do ARGS+=("$line"); done
    } <"$out/settings.txt"
    DATA=${DATA#DATA=}
}

# Run one of the commands; where it fails, so does the point, with the command's last line as the reason.
step() {
    script=$1
    printf '\n$ python'
    printf ' %q' "$@"
    echo
    shift
    "$PYTHON" "$HERE/$script" "$@"
    status=$?
    [ "$status" -eq 0 ] && return
    [ "$status" -gt 128 ] && echo "error: $script was killed by signal $((status - 128)) (9: kill -9, or out of memory)"
    fail "$(grep -v '^[[:space:]]*$' "$dir/log.txt" | tail -n 1 | cut -c 1-300)"
}

# Leave DIR/failed, whole: the time and the reason. Only a later call tries the point again.
fail() {
    printf '%s %s\n' "$(date +%s)" "$1" >"$dir/.failed.$$" && mv -f "$dir/.failed.$$" "$dir/failed"
    exit 1
}

main() {
    exec </dev/null >>"$dir/log.txt" 2>&1
    [ "$("$PYTHON" "$HERE/sweep/points.py" states "$out" "$name")" = "done $name" ] && exit 0
    if [ -f "$dir/failed" ]; then
        read -r failed_at _ <"$dir/failed"
        [ "$failed_at" -gt "$started" ] && exit 1 # while this call was waiting for it
        rm -f "$dir/failed"
    fi
    printf '\n==== %s on %s ====\n' "$(date)" "$(hostname 2>/dev/null || uname -n)"
    find "$dir" -type f -name '.*' ! -name .lock -exec rm -f {} + # what killed processes were writing

    if [ -f "$dir/config.json" ] && ! cmp -s "$submission" "$dir/submission.py"; then
        echo "the submission has changed since this point was begun: it starts over"
        find "$dir" -mindepth 1 -maxdepth 1 ! -name .lock ! -name log.txt -exec rm -rf {} +
    fi
    [[ $name =~ ^([A-Za-z]+)_latent([0-9]+)_var([^_]+)_epochs([0-9]+)_seed([0-9]+)$ ]] || fail "$name is no point"
    task=${BASH_REMATCH[1]}
    set -- --task "$task" --submission "$submission" --latent_dim "${BASH_REMATCH[2]}" --var "${BASH_REMATCH[3]}" \
        --epochs "${BASH_REMATCH[4]}" --seed "${BASH_REMATCH[5]}" --save_dir "$dir"
    read_settings
    export TQDM_DISABLE=1 # the log is a file
    [ -f "$dir/config.json" ] && set -- --load_from_checkpoint "$@"
    step train.py "$@" ${ARGS[@]+"${ARGS[@]}"}
    step inference.py --task "$task" --checkpoint_path "$dir/best.pth" --data_path "$DATA"
    step grade.py --task "$task" "--${task}_output_dir" "$dir/output" --test_data_path "$DATA" --out "$dir/grade_result.json"
}

main; exit # on one line: bash reads no further, should this file be changed meanwhile
