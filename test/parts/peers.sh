#!/usr/bin/env bash
# Programs that `make bench` compares with: the reference registry and trivy, built from Go modules, and zot where it is
# on PATH (its module is not served). What cannot be had is left out, and its bars are then not seen. The bench starts
# the servers itself, because it measures their processes.
# PEERS: which of them (default: all). A variable that is set already wins:
#   BONDED_PEER_REGISTRY  distribution's registry
#   BONDED_PEER_TRIVY     trivy
#   BONDED_PEER_ZOT       zot, best in its minimal build
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/versions.sh"

PEERS=${PEERS:-registry trivy zot}

# peer NAME: finds or builds it; sets TOOL
peer() {
	case $1 in
	registry) go_tool "github.com/distribution/distribution/v3@$DISTRIBUTION_VERSION" github.com/distribution/distribution/v3/cmd/registry ;;
	trivy) GOEXPERIMENT=jsonv2 go_tool "github.com/aquasecurity/trivy@$TRIVY_VERSION" github.com/aquasecurity/trivy/cmd/trivy ;;
	zot) TOOL=$(command -v zot) || die "zot is not on PATH" ;;
	*) die "no peer is called $1" ;;
	esac
}

case ${1:-start} in
start)
	for p in $PEERS; do
		name=BONDED_PEER_${p^^}
		if [ -n "${!name:-}" ]; then
			out "$name" "${!name}"
		elif tool=$(peer "$p" && echo "$TOOL"); then
			out "$name" "$tool"
		fi
	done
	;;
stop) ;;
*) die "start or stop" ;;
esac
