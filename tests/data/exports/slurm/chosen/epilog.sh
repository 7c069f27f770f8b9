#!/bin/sh
# Epilog= of slurm.conf: as root on each node after a job's last task there.
# Written by envforge 1.2.3; lock 321ab881d2e461c0d5a84bfde14d8dbd05c3e2afcc4e054d0d6a49c77b2c594b
#
# It ends well whatever it finds: a failing epilog drains the node (slurm.conf(5)).
set -uf
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

scratch='/var/tmp/envforge-jobs'

case ${SLURM_JOB_ID:-} in
'' | *[!0-9]*) exit 0 ;;
esac

# As the prolog: below a folder that others can change, this may be a link, or somebody's results.
# shellcheck disable=SC3067 # -O: dash, bash, ksh, zsh and busybox have it
case $(LC_ALL=C ls -ld -- "$scratch" 2>/dev/null) in
d????-??-*) [ -O "$scratch" ] || exit 0 ;;
*) exit 0 ;;
esac
# Links in it are not followed.
[ ! -d "$scratch/$SLURM_JOB_ID" ] || rm -rf --one-file-system -- "${scratch:?}/$SLURM_JOB_ID"
exit 0
