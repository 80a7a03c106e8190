package conformance

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/testparts"
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
	name    string // names its suite in the list of those that did not run
	profile string // tells two runs of one program apart; Optional
	env     string // variable with the path of the executable
	ask     func(x target, results string) []string
}

var programs = []program{
	{name: "conformance-main", profile: "-1.1", env: "BONDED_CONFORMANCE_MAIN", ask: func(x target, results string) []string {
		return askMain(x, results, "1.1")
	}},
	{name: "conformance-main", profile: "-dev", env: "BONDED_CONFORMANCE_MAIN", ask: func(x target, results string) []string {
		return askMain(x, results, "dev")
	}},
	{name: "conformance-release", env: "BONDED_CONFORMANCE_RELEASE", ask: askRelease},
}

func TestConformance(t *testing.T) {
	for _, x := range targets(t) {
		for _, p := range programs {
			t.Run(x.name+"/"+p.name+p.profile, func(t *testing.T) {
				path := os.Getenv(p.env)
				if path == "" {
					testparts.Absent(t, p.name, p.env+" is not set; test/parts/conformance.sh builds it where its module is served")
				}
				conform(t, path, p, x.start(t))
			})
		}
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

// tally is what a JUnit report adds up to.
type tally struct {
	cases           int
	failed, skipped []string // names
}

// readReport counts the test cases of a JUnit report, however deep its suites.
// The programs tell the outcome by an attribute; a status that is unknown here has
// not passed.
func readReport(r io.Reader) (tally, error) {
	var sum tally
	dec := xml.NewDecoder(r)
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return tally{}, fmt.Errorf("after %d cases: %v", sum.cases, err)
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "testcase" {
			continue
		}
		sum.cases++
		name := attribute(start, "name")
		switch attribute(start, "status") {
		case "passed":
		case "skipped", "disabled":
			sum.skipped = append(sum.skipped, name)
		default:
			sum.failed = append(sum.failed, name)
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func TestReadReport(t *testing.T) {
	const report = `<testsuites><testsuite><properties><property name="x" value="y"/></properties>
<testcase name="a" status="passed"><system-err>said</system-err></testcase>
<testcase name="b" status="failure"></testcase><testcase name="c" status="skipped"><skipped/></testcase>
<testcase name="d" status="new"/></testsuite></testsuites>`
	got, err := readReport(strings.NewReader(report))
	if err != nil {
		t.Fatal(err)
	}
	want := tally{cases: 4, failed: []string{"b", "d"}, skipped: []string{"c"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(tally{})); diff != "" {
		t.Errorf("tally differs (-want +got):\n%s", diff)
	}
	if _, err := readReport(strings.NewReader(`<testsuites><testcase`)); err == nil {
		t.Error("a report cut short was read without an error")
	}
}
