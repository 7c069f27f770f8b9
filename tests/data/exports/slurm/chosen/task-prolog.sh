#!/bin/sh
# TaskProlog= of slurm.conf: as the user before each task; `export NAME=value` that it prints is set.
# Written by envforge 1.2.3; lock 321ab881d2e461c0d5a84bfde14d8dbd05c3e2afcc4e054d0d6a49c77b2c594b
set -uf

scratch='/var/tmp/envforge-jobs'

case ${SLURM_JOB_ID:-} in
'' | *[!0-9]*) exit 0 ;;
esac
# shellcheck disable=SC3067 # -O: dash, bash, ksh, zsh and busybox have it
[ -d "$scratch/$SLURM_JOB_ID" ] && [ -O "$scratch/$SLURM_JOB_ID" ] || exit 0

# Local to the node, and gone with the job: home folders on a network are slow, and have quotas.
printf 'export TMPDIR=%s\n' "$scratch/$SLURM_JOB_ID"
# As many threads as the job has cores: more of them wait for each other.
case ${SLURM_CPUS_PER_TASK:-} in
'' | *[!0-9]*) ;;
*)
    printf 'export OMP_NUM_THREADS=%s\n' "$SLURM_CPUS_PER_TASK"
    printf 'export MKL_NUM_THREADS=%s\n' "$SLURM_CPUS_PER_TASK"
    ;;
esac
