#!/usr/bin/env bash
#
# A Slurm cluster of one node, this machine, on the loopback interface, for tests. Needs slurm-wlm and munge, and root.
#
#     eval "$(bash tests/slurm_cluster.sh start DIR)"      # DIR: a short path; what is printed exports SLURM_CONF
#     bash tests/slurm_cluster.sh stop DIR
#
# SLURM_EXTRA holds further lines for slurm.conf, such as MaxArraySize=10. Nothing is left behind but the files in DIR.

set -eu
PATH=$PATH:/usr/sbin

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

write_conf() {
    host=$(hostname -s)
    memory=$(awk '/^MemAvailable/ { print int($2 / 2048) }' /proc/meminfo) # MiB, half of what is free
    cores=$(env -u OMP_NUM_THREADS nproc)
    cat >"$1/slurm.conf" <<CONF
ClusterName=lab
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthType=auth/munge
AuthInfo=socket=$1/munge/munge.sock
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$1/state
SlurmdSpoolDir=$1/spool
SlurmctldPidFile=$1/slurmctld.pid
SlurmdPidFile=$1/slurmd.pid
SlurmctldLogFile=$1/log/ctld.log
SlurmdLogFile=$1/log/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=$((memory / cores))
ReturnToService=2
MpiDefault=none
KillWait=2
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
${SLURM_EXTRA-}
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=60 State=UP
CONF
}

start() {
    mkdir -p "$1/munge" "$1/state" "$1/spool" "$1/log"
    chmod 755 "$1" "$1/munge" # munged wants its socket to be within reach of all users
    head -c 1024 /dev/urandom >"$1/munge/key"
    chmod 400 "$1/munge/key"
    write_conf "$1"
    munged --key-file="$1/munge/key" --socket="$1/munge/munge.sock" --pid-file="$1/munge/munged.pid" \
        --log-file="$1/munge/munged.log" --seed-file="$1/munge/seed" >&2
    export SLURM_CONF=$1/slurm.conf
    slurmctld >&2
    slurmd >&2
    for _ in $(seq 150); do
        if [ "$(sinfo -h -o %T 2>/dev/null)" = idle ]; then
            echo "export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.2
    done
    echo "error: the node did not become idle in 30 s: see $1/log/ctld.log and $1/log/d.log" >&2
    stop "$1"
    exit 1
}

stop() {
    export SLURM_CONF=$1/slurm.conf
    if pid=$(cat "$1/slurmctld.pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null; then
        scancel --user="$(id -un)" || true
        for _ in $(seq 50); do
            [ -n "$(squeue -h)" ] || break
            sleep 0.2
        done
    fi
    for file in "$1/slurmd.pid" "$1/slurmctld.pid" "$1/munge/munged.pid"; do
        pid=$(cat "$file" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 50); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done
}

case ${1-}:${2-} in
    start:?* | stop:?*) "$1" "$2" ;;
    *) echo "usage: bash tests/slurm_cluster.sh start|stop DIR" >&2 && exit 2 ;;
esac
