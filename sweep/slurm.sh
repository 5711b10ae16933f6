# shellcheck shell=bash disable=SC2086,SC2034 # as in run_sweep.sh, which reads QUEUE
#
# The points of a sweep as Slurm job arrays; run_sweep.sh reads this file. It needs sbatch, squeue and scontrol, and no
# accounting database: what is queued is known from the jobs' names, what came out of it from the points' folders.

POLL=2 # seconds between two looks at the queue

need_slurm() {
    for program in sbatch squeue scontrol; do
        command -v "$program" >/dev/null ||
            die "--slurm needs $program: run this where jobs are submitted, or without --slurm to run the points here."
    done
}

# A job's name is this, a dot, and the suffix of the list that its array's indices count in: OUT/slurm/points.SUFFIX.
job_name() {
    printf 'sweep-%s' "$(cd "$OUT" && pwd -P | cksum | cut -d ' ' -f 1)"
}

# Print the sweep's points that are queued or running; fails where squeue does.
list_queue() {
    queue=$(squeue -h -r -u "$(id -u)" -o '%j %K') || return 1
    printf '%s\n' "$queue" | awk -v prefix="$(job_name)." -v lists="$OUT/slurm/points." '
        index($1, prefix) == 1 {
            list = substr($1, length(prefix) + 1)
            if (!(list in count))
                for (count[list] = 0; (getline line < (lists list)) > 0; ) point[list, ++count[list]] = line
            print point[list, $2]
        }'
}

write_job() {
    cat <<JOB
#!/bin/bash
cd $(printf %q "$PWD") || exit
export PYTHON=$(printf %q "$PYTHON") OMP_NUM_THREADS=\${SLURM_CPUS_PER_TASK:-1}
export MKL_NUM_THREADS=\$OMP_NUM_THREADS OPENBLAS_NUM_THREADS=\$OMP_NUM_THREADS
out=$(printf %q "$OUT") name=\$(sed -n "\${SLURM_ARRAY_TASK_ID}p" $(printf %q "$1"))
exec "\$PYTHON" $(printf %q "$HERE/sweep/points.py") lock "\$out/\$name/.lock" \\
    bash $(printf %q "$HERE/sweep/point.sh") "\$out" "\$name" $(printf '%q %q' "$SNAPSHOT" "$STARTED")
JOB
}

# Submit the POINTS that are neither done nor running nor queued. One process at a time does this: see run_on_slurm.
submit_points() {
    QUEUE=$(list_queue) || die "squeue fails, so it is not known what is queued already: try again later."
    read_states
    set -- $MISSING $FAILED
    limit=$(scontrol show config | awk '$1 == "MaxArraySize" { print $3 }')
    [ "${limit:-0}" -ge 2 ] || die "this cluster takes no job arrays (MaxArraySize is ${limit:-not known})."
    after=""
    while [ $# -gt 0 ]; do
        list=$(mktemp "$OUT/slurm/points.XXXXXX") || die "nothing can be written to $OUT/slurm."
        count=0
        while [ $# -gt 0 ] && [ "$count" -lt $((limit - 1)) ]; do
            echo "$1"
            shift
            count=$((count + 1))
        done >"$list"
        # An array after the other, so that JOBS bounds them all. Ours come last: they win over SBATCH_ARGS.
        job=$(write_job "$list" | sbatch $SBATCH_ARGS $after --parsable --array="1-$count%$JOBS" \
            --job-name="$(job_name).${list##*.}" --output="$OUT/slurm/%A_%a.out") ||
            die "sbatch refused the job (above): see SBATCH_ARGS."
        job=${job%%;*}
        after=--dependency=afterany:$job
        echo "submitted $count points as job $job"
    done
}

wait_for_jobs() {
    echo "waiting for them; Ctrl-C leaves them in the queue, where this finds them: squeue -u $(id -u) | grep sweep-"
    quiet=0
    # A second look, because on a shared file system a result may come to sight after its job has left the queue.
    while [ "$quiet" -lt 2 ]; do
        if QUEUE=$(list_queue 2>/dev/null); then
            read_states
            WORKERS=$RUNNING
            show_progress
            quiet=$((quiet + 1))
            [ -z "$QUEUED$RUNNING" ] || quiet=0
        fi # else the controller does not answer just now: the jobs go on without it
        sleep "$POLL"
    done
}

run_on_slurm() {
    mkdir -p "$OUT/slurm" || die "nothing can be written to $OUT."
    printf '%s\n' $POINTS | "$PYTHON" "$HERE/sweep/points.py" lock --wait "$OUT/slurm/.lock" \
        bash "$HERE/run_sweep.sh" --submit "$OUT" "$SNAPSHOT" "$STARTED" || exit 2
    if [ -n "$DETACH" ]; then
        echo "bash run_sweep.sh --status --out $(printf %q "$OUT") looks how far they are; this command without --detach collects"
        exit 0
    fi
    wait_for_jobs
}
