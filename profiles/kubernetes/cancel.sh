#!/usr/bin/env bash
# cancel.sh NAME...: delete Jobs and their pods.
set -euo pipefail
kubectl delete job --ignore-not-found --wait=false "$@"
