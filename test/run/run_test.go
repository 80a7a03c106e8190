package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadEvents(t *testing.T) {
	const events = `{"Action":"build-output","ImportPath":"x/broken","Output":"x.go:1: nonsense\n"}
{"Action":"output","Package":"x/a","Test":"TestGood","Output":"noise\n"}
{"Action":"pass","Package":"x/a","Test":"TestGood"}
{"Action":"output","Package":"x/a","Test":"TestBad","Output":"    a_test.go:3: it is broken\n"}
{"Action":"fail","Package":"x/a","Test":"TestBad"}
{"Action":"output","Package":"x/a","Test":"TestDB","Output":"    a_test.go:9: part absent: postgres: PARTS_PG_URL is not set\n"}
{"Action":"skip","Package":"x/a","Test":"TestDB"}
{"Action":"output","Package":"x/a","Test":"TestOdd","Output":"    a_test.go:12: only on Tuesdays\n"}
{"Action":"skip","Package":"x/a","Test":"TestOdd"}
{"Action":"output","Package":"x/a","Output":"coverage is not asked for\n"}
{"Action":"output","Package":"x/a","Output":"FAIL\tx/a\t0.1s\n"}
{"Action":"fail","Package":"x/a"}
{"Action":"output","Package":"x/b","Output":"?   \tx/b\t[no test files]\n"}
{"Action":"skip","Package":"x/b"}
not an event
`
	var out bytes.Buffer
	r := newReader(&out)
	if err := r.all(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	if r.results.passed != 1 || r.results.failed != 1 {
		t.Errorf("%d passed and %d failed, want 1 and 1", r.results.passed, r.results.failed)
	}
	want := []skip{
		{pkg: "x/a", test: "TestDB", part: "postgres", reason: "PARTS_PG_URL is not set"},
		{pkg: "x/a", test: "TestOdd", reason: "only on Tuesdays"},
	}
	if diff := cmp.Diff(want, r.results.skips, cmp.AllowUnexported(skip{})); diff != "" {
		t.Errorf("skips differ (-want +got):\n%s", diff)
	}
	for _, line := range []string{"x.go:1: nonsense", "it is broken", "FAIL\tx/a\t0.1s", "?   \tx/b", "not an event", "coverage"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("%q was not printed", line)
		}
	}
	if strings.Contains(out.String(), "noise") {
		t.Error("what a passing test said was printed")
	}
}

func TestReportCountsWhatIsMissing(t *testing.T) {
	skips := []skip{
		{pkg: "x/db", test: "TestB", part: "postgres", reason: "absent"},
		{pkg: "x/db", test: "TestA", part: "postgres", reason: "absent"},
		{pkg: "x/y/odd", test: "TestOdd", reason: "only on Tuesdays"},
	}
	var out bytes.Buffer
	for _, required := range []bool{false, true} {
		out.Reset()
		if got := report(&out, suites(skips), required); got != 2 {
			t.Errorf("%d suites are missing, want 2\n%s", got, &out)
		}
		if strings.Contains(out.String(), "make test REQUIRE_ALL=1") == required {
			t.Errorf("all required: %t, and it says:\n%s", required, &out)
		}
	}
	if got := suites(skips)[1].tests; !slices.Equal(got, []string{"x/db.TestA", "x/db.TestB"}) {
		t.Errorf("tests of the suite are %q", got)
	}
}

func TestSkipsSayWhyTheirPartIsAbsent(t *testing.T) {
	p := &parts{absent: map[string]string{"engine": "needs root"}}
	skips := []skip{
		{part: "engine", reason: "ENGINE is not set"},
		{part: "tool", reason: "ENGINE is not set"},
		{part: "other", reason: "OTHER is not set"},
		{reason: "only on Tuesdays"},
	}
	p.explain(skips, []part{{name: "engine", brings: []string{"tool"}}, {name: "other"}})
	var got []string
	for _, s := range skips {
		got = append(got, s.reason)
	}
	if want := []string{"needs root", "needs root", "OTHER is not set", "only on Tuesdays"}; !slices.Equal(got, want) {
		t.Errorf("reasons %q, want %q", got, want)
	}
}

// script writes an executable shell script.
func script(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name+".sh"), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestPartsAreStartedAndStopped(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "one", `case $1 in start) echo "export ONE='it'\''s'"; echo "export PLAIN='a b'";; stop) echo one >>"$LOG";; esac`)
	script(t, dir, "two", `case $1 in start) echo "export GOT='$PLAIN $ONLY $PARTS_INSTALL'";; stop) echo two >>"$LOG";; esac`)
	script(t, dir, "three", `echo "three: cannot be had" >&2; exit 1`)
	log := filepath.Join(dir, "log")
	p, err := newParts(dir, []string{"LOG=" + log, "PATH=" + os.Getenv("PATH")})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p.start(t.Context(), &out, []part{{name: "one"}, {name: "second", script: "two", env: "ONLY=this"}, {name: "three"}}, false)
	for _, want := range []string{"PLAIN=a b", "GOT=a b this no"} {
		if !slices.Contains(p.env, want) {
			t.Errorf("the environment lacks %q: %q", want, p.env)
		}
	}
	if got, want := p.absent["three"], "three: cannot be had"; got != want {
		t.Errorf("three is absent because %q, want %q", got, want)
	}
	if _, err := os.Stat(p.dir); err != nil {
		t.Errorf("the folder of the run: %v", err)
	}
	p.close(&out)
	if _, err := os.Stat(p.dir); !os.IsNotExist(err) {
		t.Errorf("the folder of the run was left behind: %v", err)
	}
	if got, _ := os.ReadFile(log); string(got) != "two\none\n" {
		t.Errorf("stopped in the order %q", got)
	}
}

func TestFuzzTargetsAreFound(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"a/x_test.go":          "package a\nfunc FuzzB(f *testing.F) {}\nfunc FuzzA(f *testing.F) {}\nfunc Fuzzy() {}\n",
		"a/testdata/x_test.go": "package a\nfunc FuzzHidden(f *testing.F) {}\n",
		".git/x_test.go":       "package a\nfunc FuzzGit(f *testing.F) {}\n",
		"b/x.go":               "package b\nfunc FuzzNoTest(f *testing.F) {}\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := fuzzTargets(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []target{{"a", "FuzzA"}, {"a", "FuzzB"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(target{})); diff != "" {
		t.Errorf("targets differ (-want +got):\n%s", diff)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"dance"}, {"test", "-no-such-flag"}} {
		var out bytes.Buffer
		if got := run(t.Context(), args, &out, &out); got != exitUsage {
			t.Errorf("%q: exit code %d, want %d", args, got, exitUsage)
		}
	}
}

func TestModulesOfTheirOwn(t *testing.T) {
	for dir, want := range map[string][2]string{
		"internal/oci":                          {".", "internal/oci"},
		"cmd/bonded":                            {".", "cmd/bonded"},
		"cmd/bonded-pkcs11":                     {"cmd/bonded-pkcs11", "."},
		filepath.Join("cmd/bonded-pkcs11", "x"): {"cmd/bonded-pkcs11", "x"},
	} {
		m, below := moduleOf(dir)
		if got := [2]string{m.dir, below}; got != want {
			t.Errorf("%s is %q, want %q", dir, got, want)
		}
	}
	for _, m := range otherModules {
		if _, err := os.Stat(filepath.Join("..", "..", m.dir, "go.mod")); err != nil {
			t.Errorf("%v", err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	m := otherModules[0].with([]string{"CGO_ENABLED=0"})
	if !slices.Contains(m.env, "CGO_ENABLED=1") {
		t.Errorf("its environment is %q", m.env)
	}
	got, err := testModule(t.Context(), new(bytes.Buffer), m)
	if err != nil || len(got.skips) != 1 || got.skips[0].part != "softhsm" || !strings.Contains(got.skips[0].reason, "no C compiler") {
		t.Errorf("without a C compiler: %+v, %v", got, err)
	}
}
