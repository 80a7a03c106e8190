#!/usr/bin/env bash
# The official conformance programs of opencontainers/distribution-spec, built from Go modules at the versions of
# versions.sh. Not every registry of modules serves each of them: what cannot be had is said and left out.
# A variable that is set already wins, so that a program built elsewhere can be used:
#   BONDED_CONFORMANCE_MAIN     the program of the repository's head
#   BONDED_CONFORMANCE_RELEASE  the test binary of v1.1.1
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/versions.sh"

MODULE=github.com/opencontainers/distribution-spec/conformance

# suite VERSION: compiles the module's Ginkgo suite, which is a test of its package; sets TOOL
suite() {
	TOOL=$PARTS_CACHE/bin/conformance-$1
	[ -x "$TOOL" ] && return 0
	[ "${PARTS_INSTALL:-yes}" = yes ] || die "the conformance suite $1 is not built, and nothing may be installed"
	local src=$PARTS_CACHE/src/conformance-$1
	say "building the conformance suite $1"
	go_module "$src" "$MODULE" "$1" || die "$MODULE $1 is not to be had"
	(cd "$src" && CGO_ENABLED=0 GOFLAGS=-mod=mod go test -c -trimpath -o "$TOOL.$$" "$MODULE") >&2
	mv "$TOOL.$$" "$TOOL"
}

# offer VARIABLE COMMAND...: one export line, where the variable is not set and the command gets the program
offer() {
	local name=$1 tool; shift
	if [ -n "${!name:-}" ]; then
		out "$name" "${!name}"
	elif tool=$("$@" && echo "$TOOL"); then
		out "$name" "$tool"
	fi
}

case ${1:-start} in
start)
	offer BONDED_CONFORMANCE_MAIN go_tool "$MODULE@$CONFORMANCE_MAIN_VERSION" "$MODULE"
	offer BONDED_CONFORMANCE_RELEASE suite "$CONFORMANCE_RELEASE_VERSION"
	;;
stop) ;;
*) die "start or stop" ;;
esac
