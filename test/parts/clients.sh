#!/usr/bin/env bash
# Registry clients built from Go modules: crane, oras, helm, cosign, notation, slsa-verifier. "start" puts them first on PATH under their own names.
# CLIENTS: which of them (default: all).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/versions.sh"

CLIENTS=${CLIENTS:-crane oras helm cosign notation slsa-verifier}

# client NAME: builds it if need be; sets TOOL
client() {
	case $1 in
	crane) go_tool "github.com/google/go-containerregistry@$CRANE_VERSION" github.com/google/go-containerregistry/cmd/crane ;;
	oras) go_tool "oras.land/oras@$ORAS_VERSION" oras.land/oras/cmd/oras ;;
	helm) go_tool "helm.sh/helm/v4@$HELM_VERSION" helm.sh/helm/v4/cmd/helm ;;
	cosign) go_tool "github.com/sigstore/cosign/v3@$COSIGN_VERSION" github.com/sigstore/cosign/v3/cmd/cosign ;;
	notation) go_tool "github.com/notaryproject/notation@$NOTATION_VERSION" github.com/notaryproject/notation/cmd/notation ;;
	slsa-verifier) go_tool "github.com/slsa-framework/slsa-verifier/v2@$SLSA_VERIFIER_VERSION" github.com/slsa-framework/slsa-verifier/v2/cli/slsa-verifier ;;
	*) die "no client is called $1" ;;
	esac
}

case ${1:-start} in
build)
	for c in $CLIENTS; do client "$c"; done
	;;
start)
	run_dir clients
	mkdir -p "$RUN/bin"
	for c in $CLIENTS; do
		# where nothing may be built, those that are built already will do
		if ! tool=$(client "$c" && echo "$TOOL"); then
			[ "${PARTS_INSTALL:-yes}" = yes ] && exit 1
			continue
		fi
		ln -sf "$tool" "$RUN/bin/$c"
	done
	out PATH "$RUN/bin:$PATH"
	;;
stop) ;;
*) die "build, start or stop" ;;
esac
