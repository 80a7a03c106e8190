//go:build conformance

package conformance

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// leastCases is how many cases a program runs at least. Fewer mean that it gave
// up at the start, which not every one of them tells by its exit code.
const leastCases = 40

// programTime bounds one run; a registry on this machine takes seconds.
const programTime = 5 * time.Minute

// target is a registry and where in it a program may write.
type target struct {
	url                *url.URL
	repository         string // prefix, without a slash at the end
	username, password string // Optional.
	env                []string
}

// program is one conformance program: how it is found, and how it is told what
// to test.
type program struct {
	name  string
	env   string // variable with the path of the executable
	build string // makes it, in the folder conformance of a clone of the specification's repository
	ask   func(x target, results string) []string
}

const buildMain = "go build -o FILE ."

var programs = []program{
	{name: "main-1.1", env: "BONDED_CONFORMANCE_MAIN", build: buildMain, ask: func(x target, results string) []string {
		return askMain(x, results, "1.1")
	}},
	{name: "main-dev", env: "BONDED_CONFORMANCE_MAIN", build: buildMain, ask: func(x target, results string) []string {
		return askMain(x, results, "dev")
	}},
	{name: "release", env: "BONDED_CONFORMANCE_RELEASE", build: "git checkout v1.1.1 && go test -c -o FILE .", ask: askRelease},
}

func TestConformance(t *testing.T) {
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			path := os.Getenv(p.env)
			if path == "" {
				t.Fatalf("%s names no program; test/parts/conformance.sh builds it where its Go module is served, and anywhere else: "+
					"git clone https://github.com/opencontainers/distribution-spec && cd distribution-spec/conformance && %s", p.env, p.build)
			}
			for _, x := range targets(t) {
				t.Run(x.name, func(t *testing.T) { conform(t, path, p, x.start(t)) })
			}
		})
	}
}

// conform runs one program against one registry and reads its report.
func conform(t *testing.T, path string, p program, x target) {
	t.Helper()
	results := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), programTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Dir = results
	cmd.Env = append(append(os.Environ(), x.env...), p.ask(x, results)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	runErr := cmd.Run()

	file, err := os.Open(filepath.Join(results, "junit.xml"))
	if err != nil {
		t.Fatalf("the program wrote no report (%v): %v\n%s", runErr, err, &out)
	}
	defer file.Close()
	got, err := readReport(file)
	if err != nil {
		t.Fatalf("reading the report: %v", err)
	}
	t.Logf("%d cases, %d failed, %d skipped", got.cases, len(got.failed), len(got.skipped))
	for _, name := range got.skipped {
		t.Logf("skipped: %s", name)
	}
	for _, name := range got.failed {
		t.Errorf("failed: %s", name)
	}
	if got.cases < leastCases {
		t.Errorf("%d cases ran, %d are the least", got.cases, leastCases)
	}
	if runErr != nil || t.Failed() {
		t.Errorf("the program said (%v):\n%s", runErr, &out)
	}
}

// askMain configures the program of the repository. version is a version of
// the specification, or "dev" for what its next will ask.
func askMain(x target, results, version string) []string {
	tls := "enabled"
	if x.url.Scheme == "http" {
		tls = "disabled"
	}
	return []string{
		"OCI_VERSION=" + version,
		"OCI_REGISTRY=" + x.url.Host,
		"OCI_TLS=" + tls,
		"OCI_REPO1=" + x.repository + "/one",
		"OCI_REPO2=" + x.repository + "/two",
		"OCI_USERNAME=" + x.username,
		"OCI_PASSWORD=" + x.password,
		"OCI_API_BLOBS_UPLOAD_CANCEL=true",
		"OCI_RESULTS_DIR=" + results,
		"OCI_LOG=warn",
	}
}

// askRelease configures the test binary of v1.1.1, which runs only what it is
// asked to.
func askRelease(x target, results string) []string {
	return []string{
		"OCI_ROOT_URL=" + x.url.String(),
		"OCI_NAMESPACE=" + x.repository + "/three",
		"OCI_CROSSMOUNT_NAMESPACE=" + x.repository + "/four",
		"OCI_USERNAME=" + x.username,
		"OCI_PASSWORD=" + x.password,
		"OCI_TEST_PULL=1",
		"OCI_TEST_PUSH=1",
		"OCI_TEST_CONTENT_DISCOVERY=1",
		"OCI_TEST_CONTENT_MANAGEMENT=1",
		"OCI_HIDE_SKIPPED_WORKFLOWS=0",
		// A mount that searches other repositories would tell who holds what.
		"OCI_AUTOMATIC_CROSSMOUNT=0",
		"OCI_REPORT_DIR=" + results,
	}
}
