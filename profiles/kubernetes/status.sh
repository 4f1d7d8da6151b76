#!/usr/bin/env bash
# status.sh NAME: running, success or failed.
set -euo pipefail
state=$(kubectl get job "$1" -o 'jsonpath={.status.succeeded}/{.status.failed}' 2> /dev/null) || state=unknown
case $state in
    1/*) echo success ;;
    */[1-9]*) echo failed ;;
    *) echo running ;; # not started yet, or the cluster did not answer: asked again later
esac
