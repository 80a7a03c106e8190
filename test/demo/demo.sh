#!/usr/bin/env bash
# The product, shown step by step on this machine: a server of its own on a free port, a bad image and a good one, a refusal,
# a promotion, a pull, signatures by stock cosign, the record of it all, and a file that proves it offline. Needs Go and network to Go modules; no root.
#
# BONDED           the program (default: bin/bonded, built when absent)
# KEEP=1           leave the server running and say what to try next; default: leave nothing
# DEMO_ADVISORIES  a folder with advisories in the layout of osv.dev (default: the excerpt in testdata/osv)
# DEMO_DEBIAN      "no": leave the Debian image out, which else joins where apt works as root
# DEMO_CONFIG      a file with further configuration of the server: its database, its content
#
# Every step says what it expects; a step that goes otherwise ends the demonstration with an error.
set -euo pipefail
cd "$(dirname "$0")/../.."

BONDED=${BONDED:-bin/bonded}
DEMO_ADVISORIES=${DEMO_ADVISORIES:-testdata/osv}
KEEP=${KEEP:-}

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	WIDTH=$(($(tput cols 2>/dev/null || echo 83) - 3)) # what is printed is indented by three
	BOLD=$'\e[1m' DIM=$'\e[2m' BLUE=$'\e[1;34m' RED=$'\e[1;31m' OFF=$'\e[0m'
else
	BOLD='' DIM='' BLUE='' RED='' OFF='' WIDTH=''
fi

DIR=$(mktemp -d "${TMPDIR:-/tmp}/bonded-demo.XXXXXX")
SERVER=
WITNESS=
finish() {
	local code=$?
	trap - EXIT INT TERM
	if [ $code = 0 ] && [ "$KEEP" = 1 ]; then
		exit 0
	fi
	for process in $SERVER $WITNESS; do
		kill "$process" 2>/dev/null || true
		wait "$process" 2>/dev/null || true
	done
	if [ $code != 0 ] && [ -s "$DIR/server.err" ]; then
		printf '\n%sthe server said:%s\n' "$RED" "$OFF" >&2
		tail -20 "$DIR/server.err" >&2
	fi
	chmod -R u+w "$DIR" 2>/dev/null || true
	rm -rf "$DIR"
	exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

# step TEXT: a heading
NUMBER=0
step() {
	NUMBER=$((NUMBER + 1))
	printf '\n%s%d  %s%s\n' "$BLUE" "$NUMBER" "$1" "$OFF"
}

note() { printf '%s   %s%s\n' "$DIM" "$*" "$OFF"; }

die() {
	printf '\n%sdemo: %s%s\n' "$RED" "$*" "$OFF" >&2
	exit 1
}

# expect CODE WHO COMMAND...: shows a command, runs it as WHO, and wants that exit code; what it printed is in $DIR/said
expect() {
	local want=$1 who=$2 code=0
	shift 2
	local shown=${*//$DIR\//}
	printf '\n%s%s $%s %s%s%s\n' "$DIM" "$who" "$OFF" "$BOLD" "${shown#trusting }" "$OFF"
	as "$who" "$@" >"$DIR/said" 2>&1 || code=$?
	sed "s/^/   /; s|$DIR/||g; s/\(eyJ[A-Za-z0-9_-]\{12\}\)[A-Za-z0-9_.-]*/\1…/" "$DIR/said"
	[ "$code" = "$want" ] || die "it exited with $code where $want was expected: $*"
	[ "$code" = 0 ] || note "(exit code $code)"
}

# as WHO COMMAND...: runs it with the logins of one person
as() {
	local who=$1
	shift
	env BONDED_CONFIG_DIR="$DIR/$who/bonded" DOCKER_CONFIG="$DIR/$who/docker" SSL_CERT_FILE="$DIR/ca.crt" ${BOLD:+CLICOLOR_FORCE=1} ${WIDTH:+COLUMNS=$WIDTH} "$@"
}

# judged REFERENCE: waits until its decision is made
judged() {
	local code
	for _ in $(seq 100); do
		code=0
		as ann bonded why "$1" >/dev/null 2>&1 || code=$?
		[ "$code" = 3 ] || return 0
		sleep 0.1
	done
}

# build what is shown; the clock starts after it

note "making what is shown: stock clients (crane and cosign are built from their Go modules once, which takes minutes), and a bad program"
[ -x "$BONDED" ] || CGO_ENABLED=0 go build -buildvcs=auto -trimpath -ldflags '-s -w' -o "$BONDED" ./cmd/bonded
mkdir -p "$DIR/bin"
ln -s "$(realpath "$BONDED")" "$DIR/bin/bonded"
eval "$(CLIENTS="crane cosign" PARTS_RUN="$DIR" test/parts/clients.sh start)" || die "crane and cosign could not be built from their Go modules"
command -v crane cosign >/dev/null || die "crane and cosign could not be built from their Go modules"
PATH=$DIR/bin:$PATH
(cd test/demo/badapp && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$DIR/web" .) || die "the bad program could not be built: are Go modules reachable?"

# image PROGRAM TAR: an image with one static program, as an uncompressed tar of one layer and its configuration
image() {
	local root=$DIR/root.$RANDOM
	mkdir -p "$root/usr/local/bin"
	cp -L "$1" "$root/usr/local/bin/"
	tar -C "$root" --owner=0 --group=0 --sort=name --mtime=@0 -czf "$2.layer.tar.gz" usr
	crane append --oci-empty-base --platform linux/amd64 --new_layer "$2.layer.tar.gz" --new_tag demo --output "$2" 2>/dev/null
	rm -rf "$root"
}
image "$DIR/web" "$DIR/web.tar"
image "$BONDED" "$DIR/good.tar"
mkdir "$DIR/newer"
cp -L "$BONDED" "$DIR/newer/bonded"
printf '1.1' >>"$DIR/newer/bonded" # another build of it, as far as a registry can tell
image "$DIR/newer/bonded" "$DIR/newer.tar"
SECONDS=0

step "Before anything runs: the same engine judges a file on its own"
expect 1 ann bonded scan "$DIR/web.tar" --gate production --advisories "$(realpath "$DEMO_ADVISORIES")"

step "A gate is a file: it is written, checked and tested before a server knows it"
cat >"$DIR/release.yaml" <<END
apiVersion: bonded.dev/v1
kind: Gate
name: release
describe: What customers get; nothing critical or high that has a fix.
accepts: [image]
waive: {atMost: 24h}
enter:
  - rule: max-severity
    maxSeverity: {severity: medium, fixable: true}
  - rule: no-malware
    noMalware: {}
    waive: {never: true}
stay:
  - rule: max-severity
    maxSeverity: {severity: medium, fixable: true}
    then: withdraw
END
cat >"$DIR/release.gate.test" <<END
gate: release
cases:
  - case: a medium fault is let in
    given: {findings: [{id: CVE-2026-1, severity: medium, package: curl, version: "1", fixed: "2"}]}
    expect: {outcome: allow}
  - case: a high one is not
    given: {findings: [{id: CVE-2026-1, severity: high, package: curl, version: "1", fixed: "2"}]}
    expect: {outcome: deny, rules: {max-severity: deny}, only: true, says: update curl to 2}
  - case: a permission holds for a day at most
    given:
      findings: [{id: CVE-2026-1, severity: high, package: curl, version: "1", fixed: "2"}]
      waivers: [{rule: max-severity, from: 23h, until: 1000h}]
    expect: {outcome: allow, validFor: 1h}
  - case: what was published to do harm cannot be waived
    given:
      findings: [{id: MAL-2026-1, package: evil, version: "1", malicious: true}]
      waivers: [{rule: no-malware}, {rule: max-severity}]
    expect: {outcome: deny, rules: {no-malware: deny}, only: true}
  - case: what stays does so as long as it may
    clause: stay
    given: {admitted: 9h, findings: [{id: CVE-2026-1, severity: high, package: curl, version: "1", fixed: "2"}]}
    expect: {outcome: deny, stands: false}
END
expect 0 ann bonded gate check "$DIR/release.yaml"
expect 0 ann bonded gate test "$DIR/release.gate.test" --gate "$DIR/release.yaml" --coverage

# free: a port that nobody listens on
free() {
	local port
	for _ in $(seq 100); do
		port=$((20000 + RANDOM % 40000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}
PORT=$(free)
mkdir "$DIR/usb" "$DIR/heads"
cat ${DEMO_CONFIG:+"$DEMO_CONFIG"} - >"$DIR/bonded.yaml" <<END
listen: 127.0.0.1:$PORT
url: https://127.0.0.1:$PORT
data: $DIR/data
feeds: [{name: excerpt, dir: $(realpath "$DEMO_ADVISORIES")}]
gates: {release: $DIR/release.yaml}
zones:
  - {name: quarantine}
  - {name: catalog, from: [quarantine]}
  - {name: dev}
  - {name: staging, from: [dev]}
  - {name: production, from: [staging, catalog]}
  - {name: release, from: [staging]}
trust:
  offline_keys: $DIR/usb/offline-keys.json # a disk that is taken away
  head_store: $DIR/heads # a disk that no backup restores
END

step "A server: SQLite and a folder, TLS and signing keys of its own; the keys over those keys go to another disk"
expect 0 admin bonded init --config "$DIR/bonded.yaml"
keys=$(as admin bonded init --config "$DIR/bonded.yaml" -o json | sed -n 's/^ *"key": "\(.*\)",$/\1/p')

step "A witness, another process with a key of its own: the server cannot show two people two histories"
WPORT=$(free)
expect 0 watch bonded witness key --dir "$DIR/watch" --name watch.example
watch=$(as watch bonded witness key --dir "$DIR/watch" --name watch.example)
cat >>"$DIR/bonded.yaml" <<END
  witnesses: [{url: "http://127.0.0.1:$WPORT", key: "$watch"}]
END
logs=()
for key in $keys; do
	[[ $key == */ct+* ]] || logs+=(--log "$key") # which an ECDSA key signs; it has the head store alone
done
(exec "$DIR/bin/bonded" witness serve --dir "$DIR/watch" --name watch.example --listen "127.0.0.1:$WPORT" "${logs[@]}" >"$DIR/witness.out" 2>&1 </dev/null) &
WITNESS=$!
for _ in $(seq 100); do
	(exec 3<>"/dev/tcp/127.0.0.1/$WPORT") 2>/dev/null && break
	kill -0 $WITNESS 2>/dev/null || die "the witness did not start: $(cat "$DIR/witness.out")"
	sleep 0.1
done

(exec bonded serve --config "$DIR/bonded.yaml" >"$DIR/server.out" 2>"$DIR/server.err" </dev/null) &
SERVER=$! # exec: this is the server itself
for _ in $(seq 300); do
	grep -q 'first administrator' "$DIR/server.out" 2>/dev/null && break
	kill -0 $SERVER 2>/dev/null || die "the server did not start"
	sleep 0.1
done
printf '\n%s$%s %sbonded serve --config bonded.yaml%s\n' "$DIM" "$OFF" "$BOLD" "$OFF"
sed "s/^/   /; s|$DIR/||" "$DIR/server.out"
plain=$(sed 's/\x1b\[[0-9;]*m//g' "$DIR/server.out")
URL=$(grep -o 'https://[^ ]*' <<<"$plain" | head -1)
CODE=$(sed -n 's/.*--code \([A-Z0-9-]*\).*/\1/p' <<<"$plain")
HOST=${URL#https://}
bonded trust ca --data "$DIR/data" >"$DIR/ca.crt"

step "Its first administrator enrols with the one-time code; there was never a default password"
expect 0 admin bonded login "$URL" --code "$CODE" --ca "$DIR/ca.crt"
expect 0 admin bonded zone list

step "A developer and a cluster get codes of their own"
# enrol NAME FLAGS...: invites and logs in
enrol() {
	local name=$1 code
	shift
	expect 0 admin bonded principal invite "$name" "$@"
	code=$(sed 's/\x1b\[[0-9;]*m//g' "$DIR/said" | sed -n 's/.*--code \([A-Z0-9-]*\).*/\1/p')
	expect 0 "$name" bonded login "$URL" --code "$code" --ca "$DIR/ca.crt" --docker
}
enrol ann 'developer=**'
enrol cluster 'reader=production/**' --machine

step "Advisories come from a folder here; with a network they come from osv.dev"
expect 0 admin bonded feed update

step "A stock client pushes an image with a program that links old modules"
expect 0 ann crane push "$DIR/web.tar" "$HOST/dev/shop/web:1.0"

step "What is inside was found while it was uploaded"
judged dev/shop/web:1.0
expect 0 ann bonded inventory dev/shop/web:1.0
expect 0 ann bonded findings dev/shop/web:1.0

step "It may be in dev and in staging. Production is another matter"
expect 0 ann bonded why dev/shop/web:1.0
expect 0 ann bonded promote dev/shop/web:1.0 --to staging
expect 1 ann bonded promote staging/shop/web:1.0 --to production

step "Pushing it to production does not get it there: it waits in the intake, and is denied"
expect 0 ann crane push "$DIR/web.tar" "$HOST/production/shop/web:1.0"
digest=$(as ann crane digest "$HOST/production/shop/web:1.0" 2>/dev/null)
judged production/shop/web:1.0
expect 1 ann bonded why production/shop/web:1.0
note "the cluster may pull from production, and is told why it cannot:"
expect 1 cluster crane pull "$HOST/production/shop/web@$digest" "$DIR/pulled.tar"

step "A program that is up to date, Bonded itself, goes all the way"
expect 0 ann crane push "$DIR/good.tar" "$HOST/dev/shop/bonded:1.0"
judged dev/shop/bonded:1.0
expect 0 ann bonded promote dev/shop/bonded:1.0 --to staging
expect 0 ann bonded promote staging/shop/bonded:1.0 --to production --tag 1.0 --tag stable
expect 0 cluster crane pull "$HOST/production/shop/bonded:stable" "$DIR/pulled.tar"
expect 0 cluster bonded why production/shop/bonded:stable

step "Stock cosign signs and attests with this server alone; no key is kept, and no check is off"
good=$HOST/production/shop/bonded@$(as ann crane digest "$HOST/production/shop/bonded:1.0")
printf '#!/bin/sh\neval "$(bonded trust env)" && exec "$@"\n' >"$DIR/bin/trusting" # and what is run by it is shown alone
chmod +x "$DIR/bin/trusting"
as ann bonded sbom production/shop/bonded:1.0 --format spdx >"$DIR/sbom.json"
expect 0 ann bonded trust env
expect 0 ann trusting cosign sign --yes "$good"
expect 0 ann trusting cosign attest --yes --type spdxjson --predicate "$DIR/sbom.json" "$good"
expect 0 cluster trusting cosign verify --certificate-identity "$URL/oidc/people/ann" --certificate-oidc-issuer "$URL/oidc" "$good"
expect 1 cluster trusting cosign verify --certificate-identity "$URL/oidc/people/eve" --certificate-oidc-issuer "$URL/oidc" "$good"
expect 0 ann bonded verify production/shop/bonded:1.0 --anchor bonded --issuer "$URL/oidc" --identity "$URL/oidc/people/ann"
note "and what the server itself decided is a summary that SLSA's verifiers read:"
expect 0 cluster trusting cosign verify-attestation --type https://slsa.dev/verification_summary/v1 --certificate-identity "$URL/server" --certificate-oidc-issuer "$URL/oidc" "$good"

step "A permission: asked for, granted by somebody else, and over to the second"
expect 1 ann bonded promote staging/shop/web:1.0 --to release
expect 0 ann bonded waiver ask --repositories release/shop/web --rule max-severity --for 12s --reason "the fixed release is on its way"
expect 0 admin bonded waiver grant 1
expect 0 ann bonded promote staging/shop/web:1.0 --to release
expect 0 ann crane pull "$HOST/release/shop/web:1.0" "$DIR/pulled.tar"
expect 0 ann bonded why release/shop/web:1.0
then=$(date -u +%FT%T.%6NZ)
note "and now it ends:"
for _ in $(seq 200); do
	as ann crane pull "$HOST/release/shop/web:1.0" "$DIR/pulled.tar" >/dev/null 2>&1 || break
	sleep 0.1
done
expect 1 ann crane pull "$HOST/release/shop/web:1.0" "$DIR/pulled.tar"
expect 1 ann bonded why release/shop/web:1.0
note "what was decided while it held, made again from what is stored: the same bytes"
expect 0 ann bonded why release/shop/web:1.0 --at "$then"
expect 0 ann bonded why release/shop/web:1.0 --at "$then" --replay

step "A tag goes back to what it named before"
expect 0 ann crane push "$DIR/newer.tar" "$HOST/dev/shop/bonded:1.1"
judged dev/shop/bonded:1.1
expect 0 ann bonded promote dev/shop/bonded:1.1 --to staging
expect 0 ann bonded promote staging/shop/bonded:1.1 --to production --tag 1.1 --tag stable
expect 0 admin bonded hold production/shop/bonded:1.1 --reason "customers report errors"
expect 0 admin bonded rollback production/shop/bonded:stable --reason "1.1 has a defect"
expect 0 admin bonded rollback production/shop/bonded:stable --list

step "Which images does one of those advisories touch?"
expect 0 admin bonded affected CVE-2022-41723

# debian: a layer with three packages of Debian, as root where apt works
debian() {
	local root=$DIR/debian packages="base-files tzdata busybox-static" p
	[ "${DEMO_DEBIAN:-}" != no ] && [ "$(id -u)" = 0 ] && command -v apt-get dpkg-deb >/dev/null || return 1
	mkdir -p "$root/deb" "$root/fs/var/lib/dpkg"
	(cd "$root/deb" && apt-get -qq download $packages >/dev/null 2>&1) || return 1
	for p in "$root"/deb/*.deb; do
		dpkg-deb --extract "$p" "$root/fs" || return 1
		dpkg-deb --field "$p" | sed '/^Package:/a Status: install ok installed' >>"$root/fs/var/lib/dpkg/status"
		echo >>"$root/fs/var/lib/dpkg/status"
	done
	tar -C "$root/fs" --owner=0 --group=0 --sort=name -czf "$DIR/debian.layer.tar.gz" .
	crane append --oci-empty-base --platform linux/amd64 --new_layer "$DIR/debian.layer.tar.gz" --new_tag demo --output "$DIR/debian.tar" 2>/dev/null
}
if debian; then
	step "A Debian image: where no advisories speak of its packages, nobody can tell, and it is held"
	expect 0 ann crane push "$DIR/debian.tar" "$HOST/dev/base/debian:12"
	judged dev/base/debian:12
	expect 0 ann bonded inventory dev/base/debian:12
	expect 0 ann bonded promote dev/base/debian:12 --to staging
	if [ "$DEMO_ADVISORIES" = testdata/osv ]; then # which has nothing about Debian
		expect 3 ann bonded promote staging/base/debian:12 --to production
	fi
fi

step "Every change of state is on record"
expect 0 admin bonded audit log --limit 12
expect 0 admin bonded audit verify

step "All that is known of one image, in one file; it verifies on a machine without a network and without a server"
expect 0 admin bonded custody export production/shop/bonded:1.0 --file "$DIR/bonded.custody.json"
as admin bonded trust root >"$DIR/trusted_root.json"
if [ "$KEEP" != 1 ]; then
	kill "$SERVER"
	wait "$SERVER" || true
	SERVER=
	note "the server is stopped"
fi
mkdir "$DIR/nobody"
expect 0 nobody bonded custody verify "$DIR/bonded.custody.json" --trusted-root "$DIR/trusted_root.json"

printf '\n%sDone in %d seconds.%s\n' "$BOLD" "$SECONDS" "$OFF"
if [ "$KEEP" = 1 ]; then
	disown "$SERVER" "$WITNESS"
	cat <<END

The server runs as process $SERVER, with its data in $DIR. Next, try:

  export BONDED_CONFIG_DIR=$DIR/admin/bonded PATH=$DIR/bin:\$PATH
  bonded why production/shop/web:1.0
  bonded gate show production
  bonded audit tail

and when you are done: kill $SERVER $WITNESS; rm -rf $DIR
END
fi
