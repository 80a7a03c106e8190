#!/usr/bin/env bash
# The linters: golangci-lint built from Go modules, with the allow-list of .golangci.yml. "run" takes further arguments.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/versions.sh"

go_tool "github.com/golangci/golangci-lint/v2@$GOLANGCI_VERSION" github.com/golangci/golangci-lint/v2/cmd/golangci-lint
case ${1:-run} in
build) ;;
run)
	shift || true
	# Its cache remembers paths: each tree has one of its own, or exclusions by path miss.
	export GOLANGCI_LINT_CACHE=${GOLANGCI_LINT_CACHE:-$PWD/.cache/golangci-lint}
	exec "$TOOL" run "$@"
	;;
*) die "build or run" ;;
esac
