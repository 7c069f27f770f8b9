#!/bin/sh
# Prolog= of slurm.conf: as root on each node before a job's first task there.
# Written by envforge 1.2.3; lock 321ab881d2e461c0d5a84bfde14d8dbd05c3e2afcc4e054d0d6a49c77b2c594b
#
# A failing prolog drains the node and gives the job back to the queue (slurm.conf(5)), so only
# what is wrong with the node itself fails here; the environment is looked at by the job.
set -uf
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

envforge='/usr/local/bin/envforge'
scratch='/var/tmp/envforge-jobs'

case ${SLURM_JOB_ID:-} in
'' | *[!0-9]*) exit 0 ;; # not from Slurm
esac

# A folder of its own for each job, on a disk: compile caches and temporary files go with the job.
# Only below a folder that nobody but root can change: else its user would lead us elsewhere.
umask 077
[ -e "$scratch" ] || mkdir -m 0711 -- "$scratch"
# shellcheck disable=SC3067 # -O: dash, bash, ksh, zsh and busybox have it
case $(LC_ALL=C ls -ld -- "$scratch") in
d????-??-*) [ -O "$scratch" ] && ours=yes || ours=no ;;
*) ours=no ;;
esac
if [ "$ours" = no ]; then
    printf 'envforge: jobs get no folder: %s is no folder that only root can change\n' "$scratch" >&2
elif mkdir -- "$scratch/$SLURM_JOB_ID"; then # not -p: what lies there is of another job
    chown -h -- "${SLURM_JOB_UID:-0}:${SLURM_JOB_GID:-${SLURM_JOB_UID:-0}}" "$scratch/$SLURM_JOB_ID"
fi

# Without a GPU for the job, there is nothing to look at.
[ -n "${SLURM_JOB_GPUS:-${GPU_DEVICE_ORDINAL:-}}" ] || exit 0
[ -x "$envforge" ] || exit 0 # a disk that is not mounted is no reason to drain all nodes

# Driver and GPUs from files and the driver itself; slurmd waits PrologTimeout, this less.
HOME=/ timeout 60 "$envforge" verify --host --level static --require-gpu >&2
status=$?
[ "$status" -eq 1 ] || exit 0 # only a problem that was found counts, not a check that could not run
printf 'envforge: the GPUs of this node do not work: see the log of slurmd\n' >&2
exit 1
