#!/usr/bin/env bash
# submit.sh MEM_MB CPUS SCRIPT: run a snakemake job script in a pod; prints the name of the Kubernetes Job.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
: "${NOLDO_IMAGE:?name the image built from pipeline/Containerfile}"
: "${NOLDO_VOLUME_CLAIM:?name the PersistentVolumeClaim that all pods share}"
: "${NOLDO_VOLUME_MOUNT:?name the folder it is mounted at, here and in the pods}"
mem_mb=$1 cpus=$2 script=$3
case "$PWD/" in
    "${NOLDO_VOLUME_MOUNT%/}"/*) ;;
    *) echo "submit.sh: $PWD is not below $NOLDO_VOLUME_MOUNT, so pods can't see it; start there" >&2; exit 1 ;;
esac
# snakemake writes the script into its own temporary folder in the working directory: pods see it there.
name="noldo-$(date +%s)-$RANDOM$RANDOM"
sed -e "s|@NAME@|$name|" -e "s|@IMAGE@|$NOLDO_IMAGE|" -e "s|@CLAIM@|$NOLDO_VOLUME_CLAIM|" \
    -e "s|@MOUNT@|$NOLDO_VOLUME_MOUNT|" -e "s|@DIRECTORY@|$PWD|" -e "s|@SCRIPT@|$script|" \
    -e "s|@MEM_MB@|$mem_mb|" -e "s|@CPUS@|$cpus|" "$here/job.yaml" | kubectl create -f - > /dev/null
echo "$name"
