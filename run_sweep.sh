#!/usr/bin/env bash
#
# Sweep latent_dim: train, infer and grade a submission at many settings, here or on a Slurm cluster, and compare them.
#
#     bash run_sweep.sh                                     # submission.py over the defaults below
#     LATENT_DIMS="2 5 10 20 40" TASKS="VAEwolabel Genwithlabel" SEEDS="0 1 2" VARS="0.05 0.25" EPOCHS=10 JOBS=2 \
#         bash run_sweep.sh --out runs/sweep1 -- --lr 2e-3 --batch_size 256
#
# The same command again goes on where it stopped, and tries again what failed. What follows -- goes to train.py; it
# belongs to the folder, as SUBMISSION and DATA do: other ones need another --out.
#
# Options
#     --out DIR         the sweep's folder (default: runs/sweep); each point is a folder in it, named by its settings
#     --slurm           run the points as a Slurm job array, JOBS at a time, and wait for them
#     --detach          with --slurm: do not wait; the same command later collects
#     --status          say how far the sweep in DIR is
#     --summary DIR     redraw DIR/summary.csv, .md and .png and the sheets of digits from what is there
#     --help            print this
#
# Knobs, in the environment or as arguments (JOBS=4); lists are separated by spaces
#     SUBMISSION=submission.py               the file to train
#     LATENT_DIMS="2 5 10 20 40 100"         widths of the code
#     TASKS="VAEwolabel Genwithlabel"        one of them or both
#     SEEDS="0"                              one point each
#     VARS="0.1"                             variances of p(x|z): small is sharp
#     EPOCHS=10                              of each training
#     JOBS=2                                 points at a time (1 on a single core); each gets its share of the cores
#     DATA=dataset/valid.npz                 the split that is reconstructed and graded
#     SBATCH_ARGS=""                         further arguments for sbatch: "--partition=gpu --time=1:00:00 --gres=gpu:1"
#     PYTHON=.venv/bin/python                the Python to run
#
# Exit code: 0 all points done, 1 some failed (each is named, with its log), 2 wrong use, 130 stopped by Ctrl-C.

# shellcheck disable=SC2086 # lists of points and of numbers are split on purpose: their words have no spaces

set -u
HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
KNOBS="SUBMISSION LATENT_DIMS TASKS SEEDS VARS EPOCHS JOBS DATA SBATCH_ARGS PYTHON"
BUSY=75 # sweep/points.py's exit code where another process has the point

die() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

print_help() {
    sed -n '3,/^$/ { s/^# \{0,1\}//; p; }' "$HERE/run_sweep.sh"
}

count_cores() {
    (
        unset OMP_NUM_THREADS OMP_THREAD_LIMIT # nproc would believe them
        nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1
    )
}

count_words() {
    echo $#
}

default_python() {
    if [ -n "${VIRTUAL_ENV-}" ] && [ -x "$VIRTUAL_ENV/bin/python" ]; then
        echo "$VIRTUAL_ENV/bin/python"
    elif [ -x "$HERE/.venv/bin/python" ]; then
        echo "$HERE/.venv/bin/python"
    else
        command -v python3 || echo python
    fi
}

# ---- before the points -----------------------------------------------------------------------------------------------

# Make OUT, or see that it was begun with the same settings; set SNAPSHOT, a copy of the submission as it is now.
prepare() {
    mkdir -p "$OUT/submissions" || die "the sweep's folder $OUT cannot be made: give another --out."
    new=$OUT/.settings.$$.$RANDOM copy=$OUT/submissions/.$$.$RANDOM
    printf '%s\n' "SUBMISSION=$SUBMISSION" "DATA=$DATA" ${ARGS[@]+"${ARGS[@]}"} >"$new" ||
        die "nothing can be written to $OUT: give another --out."
    # Of two first calls at once, ln lets one through; some file systems have no links.
    [ -e "$OUT/settings.txt" ] || ln "$new" "$OUT/settings.txt" 2>/dev/null || [ -e "$OUT/settings.txt" ] ||
        mv "$new" "$OUT/settings.txt"
    if [ -e "$new" ] && ! cmp -s "$new" "$OUT/settings.txt"; then
        rm -f "$new"
        die "$OUT was begun with other settings.
  begun with: $(tr '\n' ' ' <"$OUT/settings.txt")
  now given:  SUBMISSION=$SUBMISSION DATA=$DATA ${ARGS[*]-}
Give the same to go on with it, or another --out to begin a new sweep."
    fi
    rm -f "$new"

    cat "$SUBMISSION" >"$copy" || die "$SUBMISSION cannot be copied to $OUT/submissions."
    version=$(cksum <"$copy")
    SNAPSHOT=$OUT/submissions/${version// /_}/submission.py
    { mkdir -p "${SNAPSHOT%/*}" && mv -f "$copy" "$SNAPSHOT"; } || die "nothing can be written to $OUT/submissions."
    for name in $POINTS; do mkdir -p "$OUT/$name" || die "nothing can be written to $OUT."; done
}

# Set DONE, RUNNING, FAILED, MISSING and QUEUED to lists of points; the last are those of the others that are in QUEUE.
read_states() {
    DONE="" RUNNING="" FAILED="" MISSING="" QUEUED=""
    queue=" $(printf '%s' "$QUEUE" | tr '\n' ' ') "
    states=$("$PYTHON" "$HERE/sweep/points.py" states "$OUT" $POINTS) || die "the state of the points in $OUT cannot be read (above)."
    while read -r state name; do
        case $state in
            done) DONE="$DONE $name" && continue ;;
            running) RUNNING="$RUNNING $name" && continue ;;
        esac
        case $queue in *" $name "*) QUEUED="$QUEUED $name" && continue ;; esac
        case $state in
            failed) FAILED="$FAILED $name" ;;
            missing) MISSING="$MISSING $name" ;;
        esac
    done <<<"$states"
}

# Name the points that are not done, with the reason and the log.
name_failures() {
    [ -z "$FAILED$MISSING" ] || printf '%d of %d points failed:\n' "$(count_words $FAILED $MISSING)" "$(count_words $POINTS)"
    for name in $FAILED; do
        printf '  %s: %s\n    log: %s\n' "$name" "$(cut -d ' ' -f 2- "$OUT/$name/failed")" "$OUT/$name/log.txt"
    done
    for name in $MISSING; do
        printf '  %s: its job ended without a result (cancelled, killed, out of time?)\n    log: %s\n' "$name" \
            "$OUT/$name/log.txt"
    done
}

# ---- on this machine -------------------------------------------------------------------------------------------------

# One line, in place on a terminal, else whenever a number changes.
show_progress() {
    set -- $DONE && done=$#
    set -- $FAILED && failed=$#
    set -- $POINTS && total=$# left=$(($# - done - failed))
    eta=""
    if [ "$left" -gt 0 ] && [ "$done" -gt "$DONE_BEFORE" ]; then
        seconds=$((SECONDS * left / (done - DONE_BEFORE)))
        printf -v eta ', ETA %d:%02d:%02d' $((seconds / 3600)) $((seconds / 60 % 60)) $((seconds % 60))
    fi
    set -- $WORKERS
    line="$done of $total done, $# running, $failed failed, $((left - $#)) to go"
    if [ -t 1 ]; then
        printf '\r%s%s\033[K' "$line" "$eta"
    elif [ "$line" != "$LAST_LINE" ]; then
        printf '%s%s\n' "$line" "$eta"
    fi
    LAST_LINE=$line
}

# Each worker is a process group of its own, so that it can be stopped with all that it started.
start_worker() {
    set -m
    "$PYTHON" "$HERE/sweep/points.py" lock $WAIT "$OUT/$1/.lock" \
        bash "$HERE/sweep/point.sh" "$OUT" "$1" "$SNAPSHOT" "$STARTED" </dev/null >>"$OUT/$1/log.txt" 2>&1 &
    set +m
    WORKERS="$WORKERS $!:$1" WORKING=$((WORKING + 1))
}

# Look which workers have ended; sort their points into DONE, ELSEWHERE and FAILED.
reap() {
    alive=""
    for worker in $WORKERS; do
        pid=${worker%%:*} name=${worker#*:}
        kill -0 "$pid" 2>/dev/null && alive="$alive $worker" && continue
        wait "$pid" 2>/dev/null
        status=$? WORKING=$((WORKING - 1))
        case $status in
            0) DONE="$DONE $name" ;;
            "$BUSY") ELSEWHERE="$ELSEWHERE $name" ;;
            *)
                kill -KILL -- "-$pid" 2>/dev/null # a killed worker may leave its train.py behind
                if [ ! -f "$OUT/$name/failed" ]; then
                    {
                        date +%s | tr '\n' ' '
                        echo "the worker ended with exit code $status (137: killed, or out of memory)"
                    } >"$OUT/$name/.failed.$$" && mv -f "$OUT/$name/.failed.$$" "$OUT/$name/failed"
                fi
                FAILED="$FAILED $name"
                ;;
        esac
    done
    WORKERS=$alive
}

# work_through POINT ...: run them, JOBS at a time. There is no $(...) in this loop, because bash 5.2 fails when a trap
# is due while it reads one; and the traps only set STOP, because elsewhere WORKERS may be half written.
work_through() {
    while [ $# -gt 0 ] || [ -n "$WORKERS" ]; do
        [ -z "$STOP" ] || stop_workers
        while [ $# -gt 0 ] && [ "$WORKING" -lt "$JOBS" ]; do
            start_worker "$1"
            shift
        done
        show_progress
        sleep 0.3
        reap
    done
}

stop_workers() {
    for signal in TERM KILL; do
        for worker in $WORKERS; do kill "-$signal" -- "-${worker%%:*}" 2>/dev/null; done
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            alive=""
            for worker in $WORKERS; do kill -0 -- "-${worker%%:*}" 2>/dev/null && alive="$alive $worker"; done
            [ -n "$alive" ] || break
            sleep 0.3
        done
    done
    printf '\nstopped; the same command goes on where it was\n' >&2
    exit "$STOP"
}

run_here() {
    WORKERS="" WORKING=0 ELSEWHERE="" WAIT="" STOP=""
    threads=$(($(count_cores) / JOBS))
    [ "$threads" -ge 1 ] || threads=1
    export OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads
    todo="$MISSING $FAILED $RUNNING" FAILED="" MISSING=""
    trap 'STOP=130' INT
    trap 'STOP=143' TERM
    trap 'STOP=129' HUP
    work_through $todo
    # What another call, or a worker that outlived its call, is at: wait for it, and take over if it dies.
    WAIT=--wait
    work_through $ELSEWHERE
    trap - INT TERM HUP
    show_progress
}

# ---- the command line ------------------------------------------------------------------------------------------------

# Draw the summary of what is done, if anything is.
summarise() {
    "$PYTHON" "$HERE/sweep/summary.py" "$1"
}

print_status() {
    [ -f "$OUT/settings.txt" ] || die "$OUT holds no sweep: give its folder with --out."
    POINTS=$(cd "$OUT" && ls -d -- *_latent*_var*_epochs*_seed* 2>/dev/null)
    if [ -d "$OUT/slurm" ]; then
        need_slurm
        QUEUE=$(list_queue) || die "squeue fails, so it is not known what is queued."
    fi
    read_states
    printf '%s: %d of %d points done, %d running, %d queued, %d failed, %d missing\n' "$OUT" "$(count_words $DONE)" \
        "$(count_words $POINTS)" "$(count_words $RUNNING)" "$(count_words $QUEUED)" "$(count_words $FAILED)" \
        "$(count_words $MISSING)"
    MISSING=""
    name_failures
}

# Knobs that are not given take their default; one that is given empty stays so, to be refused.
set_defaults() {
    : "${SUBMISSION=submission.py}" "${LATENT_DIMS=2 5 10 20 40 100}" "${TASKS=VAEwolabel Genwithlabel}" "${SEEDS=0}"
    : "${VARS=0.1}" "${EPOCHS=10}" "${DATA=dataset/valid.npz}" "${SBATCH_ARGS=}"
    [ -n "${JOBS+set}" ] || { JOBS=2 && [ "$(count_cores)" -ge 2 ]; } || JOBS=1
    : "${PYTHON=$(default_python)}"
    command -v "$PYTHON" >/dev/null || die "PYTHON: there is no program $PYTHON: name the Python to run with PYTHON=PATH."
    # shellcheck disable=SC2163 # the names that KNOBS holds
    export $KNOBS
}

parse_arguments() {
    OUT=runs/sweep MODE=run SLURM="" DETACH="" ARGS=()
    while [ $# -gt 0 ]; do
        case $1 in
            --out | --summary) [ -n "${2-}" ] || die "$1 needs a folder: $1 DIR" ;;
        esac
        case $1 in
            --help | -h) print_help && exit 0 ;;
            --out) OUT=$2 && shift ;;
            --out=?*) OUT=${1#*=} ;;
            --summary) MODE=summary OUT=$2 && shift ;;
            --summary=?*) MODE=summary OUT=${1#*=} ;;
            --status) MODE=status ;;
            --slurm) SLURM=1 ;;
            --detach) DETACH=1 ;;
            --) shift && ARGS=("$@") && break ;;
            -*) die "unknown option $1: bash run_sweep.sh --help lists them; options of train.py go after --." ;;
            *=*)
                case " $KNOBS " in
                    *" ${1%%=*} "*) export "${1%%=*}=${1#*=}" ;;
                    *) die "unknown knob ${1%%=*}: the knobs are $KNOBS." ;;
                esac
                ;;
            *) die "unexpected argument $1: lists are quoted, LATENT_DIMS=\"2 5 10\"; bash run_sweep.sh --help." ;;
        esac
        shift
    done
    OUT=${OUT%/}
    [ -z "$DETACH" ] || [ -n "$SLURM" ] || die "--detach goes with --slurm."
}

main() {
    if [ "${1-}" = --submit ]; then # run_on_slurm calls this
        OUT=$2 SNAPSHOT=$3 STARTED=$4 POINTS=$(cat)
        submit_points
        exit 0
    fi
    parse_arguments "$@"
    set_defaults
    case $MODE in
        summary) summarise "$OUT" && exit 0 || exit 2 ;;
        status) print_status && exit 0 ;;
    esac
    [ -z "$SLURM" ] || need_slurm
    export SWEEP_ON_SLURM=$SLURM
    POINTS=$("$PYTHON" "$HERE/sweep/points.py" plan ${ARGS[@]+"${ARGS[@]}"}) || exit 2
    STARTED=$(date +%s)
    prepare
    read_states
    DONE_BEFORE=$(count_words $DONE)
    if [ -n "$SLURM" ]; then run_on_slurm; else run_here; fi
    [ ! -t 1 ] || echo
    name_failures
    [ -z "$DONE" ] || summarise "$OUT" || exit 2
    [ -z "$FAILED$MISSING" ] || exit 1
}

QUEUE="" LAST_LINE=""
# shellcheck source=sweep/slurm.sh
. "$HERE/sweep/slurm.sh"
main "$@"; exit # on one line: bash reads no further, should this file be changed meanwhile
