package conformance

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
