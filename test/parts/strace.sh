#!/usr/bin/env bash
# strace, which fails chosen system calls of a program under test.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

case ${1:-start} in
start) apt_need strace ;;
stop) ;;
*) die "start or stop" ;;
esac
