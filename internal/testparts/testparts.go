// Package testparts is the door between tests and real parts: servers, clients
// and data that a test cannot carry itself. A test asks for a part by name; where it
// is absent the test is skipped with a reason that test/run collects, and with
// BONDED_REQUIRE_ALL=1 it fails instead, so that a run that must be complete cannot
// pass by skipping.
//
// The parts are brought up by the scripts of test/parts, which print the
// environment that is read here; `make test` does that for the whole run.
package testparts

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Environment variables that name what the scripts of test/parts cannot bring.
const (
	// EnvOSV names a folder with advisories as osv.dev publishes them: ECOSYSTEM/all.zip or ECOSYSTEM/*.json.
	EnvOSV = "BONDED_TEST_OSV"
	// EnvFeeds names a folder with the other feeds: kev, epss, endoflife, vex.
	EnvFeeds = "BONDED_TEST_FEEDS"
	// EnvBinary names the built program, so that not every suite links its own.
	EnvBinary = "BONDED_TEST_BINARY"
	// EnvRequireAll, set to 1, turns every absent part into a failure.
	EnvRequireAll = "BONDED_REQUIRE_ALL"
)

// AbsentPrefix starts the message of every skip of this package. What follows
// is the part's name, a colon, and why it is absent.
const AbsentPrefix = "part absent: "

// Absent ends the test because of a part that is not there: a skip, or a
// failure where all parts are required. reason says what would bring it.
func Absent(t testing.TB, part, reason string) {
	t.Helper()
	if os.Getenv(EnvRequireAll) == "1" {
		t.Fatalf("%s%s: %s", AbsentPrefix, part, reason)
	}
	t.Skipf("%s%s: %s", AbsentPrefix, part, reason)
}

// S3Config names one bucket of a real S3 server and a prefix in it that no
// other test uses. The prefix ends in a slash.
type S3Config struct {
	Endpoint  string // URL with scheme, without bucket
	Region    string
	Bucket    string
	Prefix    string
	AccessKey string
	SecretKey string
}

// S3 returns a place of this test's own on the S3 server of the run. What is
// written there goes away with the server.
func S3(t testing.TB) S3Config {
	t.Helper()
	endpoint := os.Getenv("PARTS_S3_ENDPOINT")
	if endpoint == "" {
		Absent(t, "s3", notExported("PARTS_S3_ENDPOINT", "s3.sh"))
	}
	return S3Config{
		Endpoint:  endpoint,
		Region:    os.Getenv("PARTS_S3_REGION"),
		Bucket:    os.Getenv("PARTS_S3_BUCKET"),
		Prefix:    unique(t) + "/",
		AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"),
		SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
	}
}

// OSV returns the folder of a real advisory mirror.
func OSV(t testing.TB) string {
	t.Helper()
	return folder(t, "osv", EnvOSV)
}

// Feeds returns the folder of the other real feeds.
func Feeds(t testing.TB) string {
	t.Helper()
	return folder(t, "feeds", EnvFeeds)
}

func folder(t testing.TB, part, env string) string {
	t.Helper()
	dir := os.Getenv(env)
	if dir == "" {
		Absent(t, part, env+" is not set")
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		t.Fatalf("%s=%s is no folder", env, dir)
	}
	return dir
}

// programs says what brings each program a test may ask for, and which
// variable tells that it can be used: Debian's engines need a set-up of their own.
var programs = map[string]struct{ script, env string }{
	"crane":   {script: "clients.sh"},
	"oras":    {script: "clients.sh"},
	"helm":    {script: "clients.sh"},
	"cosign":  {script: "clients.sh"},
	"podman":  {script: "podman.sh", env: "CONTAINERS_CONF"},
	"buildah": {script: "podman.sh", env: "CONTAINERS_CONF"},
	"skopeo":  {script: "podman.sh", env: "CONTAINERS_CONF"},
	"docker":  {script: "docker.sh", env: "DOCKER_HOST"},
	"strace":  {script: "strace.sh"},

	"notation":      {script: "clients.sh"},
	"slsa-verifier": {script: "clients.sh"},
}

// Program returns the path of a program that the test runs. name is one of the
// table of this package; the environment of the test is the one to run it in.
func Program(t testing.TB, name string) string {
	t.Helper()
	known, ok := programs[name]
	if !ok {
		t.Fatalf("testparts knows no program %q: add it to the table with the script that brings it", name)
	}
	if known.env != "" && os.Getenv(known.env) == "" {
		Absent(t, name, notExported(known.env, known.script))
	}
	path, err := exec.LookPath(name)
	if err != nil {
		Absent(t, name, fmt.Sprintf("not on PATH; test/parts/%s start brings it", known.script))
	}
	return path
}

// Binary returns the path of the program under test: the one that EnvBinary
// names, else one built for this test.
func Binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv(EnvBinary); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "bonded")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/bonded-dev/bonded/cmd/bonded")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building bonded: %v\n%s", err, out)
	}
	return path
}

func notExported(env, script string) string {
	return fmt.Sprintf("%s is not set; test/parts/%s start prints it", env, script)
}

// unique returns a name that is new in any run: letters, digits and
// underscores, starting with a letter, under 64 bytes.
func unique(t testing.TB) string {
	name := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(t.Name()))
	return fmt.Sprintf("t_%.36s_%s", name, strings.ToLower(rand.Text()[:16]))
}
