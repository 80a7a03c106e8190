package vexset

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/evidence"
)

// doc is an OpenVEX document about one fault.
func doc(day int, cve, product, status string) string {
	return fmt.Sprintf(`{"@context":"https://openvex.dev/ns/v0.2.0","@id":"x","author":"Acme","timestamp":"2026-03-%02dT00:00:00Z","version":1,
		"statements":[{"vulnerability":{"name":%q},"products":[{"@id":%q}],"status":%q}]}`, day, cve, product, status)
}

// tarOf packs files, "name" and "content" by turns.
func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	out := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := out.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func parse(t *testing.T, files ...string) *Set {
	t.Helper()
	s, _, err := Parse(bytes.NewReader(tarOf(t, files...)), attest.ReadVEX)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParse(t *testing.T) {
	a, b := doc(1, "CVE-1", "pkg:pypi/a@1", "not_affected"), doc(1, "CVE-2", "pkg:pypi/b@1", "fixed")
	s, p, err := Parse(bytes.NewReader(tarOf(t, "b.json", b, "a.json", a, "bad.json", "{}", "a.json", b)), attest.ReadVEX)
	if err != nil || s.Len() != 2 || p.Skipped != 2 || len(p.Reasons) != 2 {
		t.Fatalf("%d documents, %+v, %v", s.Len(), p, err)
	}
	again, err := Read(s.Document().Content)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(s.docs, again.docs) || again.Document().Digest != s.Document().Digest {
		t.Errorf("kept and read are %+v, want %+v", again.docs, s.docs)
	}
	if other := parse(t, "a.json", a, "b.json", b); other.Document().Digest != s.Document().Digest {
		t.Error("the order of files matters")
	}
	for name, raw := range map[string][]byte{"no document": tarOf(t, "x.json", "{}"), "nothing": tarOf(t), "no tar": []byte(strings.Repeat("x", 2000))} {
		if _, _, err := Parse(bytes.NewReader(raw), attest.ReadVEX); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read([]byte(`{"version":2}`)); err == nil {
		t.Error("a set of another version was read")
	}
}

func TestAbout(t *testing.T) {
	s := parse(t, "1.json", doc(1, "CVE-1", "pkg:pypi/a@1", "not_affected"), "2.json", doc(2, "GHSA-1", "pkg:pypi/a@1", "affected"), "3.json", doc(1, "CVE-3", "pkg:pypi/a@1", "fixed"))
	got := s.About("vendor", []evidence.Finding{{ID: "PYSEC-1", Aliases: []string{"CVE-1", "GHSA-1"}, PURL: "pkg:pypi/a@1"}})
	if len(got) != 2 || got[0].Feed != "vendor" || got[0].Statements[0].Vulnerability != "CVE-1" || got[1].Statements[0].Vulnerability != "GHSA-1" {
		t.Errorf("about it are %+v", got)
	}
	if got := s.About("vendor", []evidence.Finding{{ID: "CVE-2"}}); got != nil {
		t.Errorf("about nothing are %+v", got)
	}
	if got := (*Set)(nil).About("vendor", []evidence.Finding{{ID: "CVE-1"}}); got != nil {
		t.Errorf("a set of nothing says %+v", got)
	}
}

func TestChanged(t *testing.T) {
	one, two := doc(1, "CVE-1", "pkg:pypi/a@1", "not_affected"), doc(1, "CVE-2", "pkg:pypi/b@1", "fixed")
	before := parse(t, "1.json", one, "2.json", two)
	for name, c := range map[string]struct {
		now    *Set
		before *Set
		want   []string
		change string
	}{
		"all are new":    {before, nil, []string{"CVE-1", "CVE-2"}, "{2 0 0}"},
		"nothing":        {parse(t, "2.json", two, "1.json", one), before, nil, "{0 0 0}"},
		"another status": {parse(t, "1.json", doc(1, "CVE-1", "pkg:pypi/a@1", "affected"), "2.json", two), before, []string{"CVE-1"}, "{0 1 0}"},
		"another time":   {parse(t, "1.json", one, "2.json", doc(3, "CVE-2", "pkg:pypi/b@1", "fixed")), before, []string{"CVE-2"}, "{0 1 0}"},
		"another fault":  {parse(t, "1.json", one, "2.json", doc(1, "CVE-3", "pkg:pypi/b@1", "fixed")), before, []string{"CVE-2", "CVE-3"}, "{0 1 0}"},
		"one is gone":    {parse(t, "1.json", one), before, []string{"CVE-2"}, "{0 0 1}"},
		"only in bytes":  {parse(t, "1.json", one+"\n", "2.json", two), before, nil, "{0 1 0}"},
	} {
		if got := c.now.Changed(c.before); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v differ, want %v", name, got, c.want)
		}
		if got := fmt.Sprint(c.now.Change(c.before)); got != c.change {
			t.Errorf("%s: documents differ by %s, want %s", name, got, c.change)
		}
	}
	if got := (*Set)(nil).Changed(before); !slices.Equal(got, []string{"CVE-1", "CVE-2"}) {
		t.Errorf("with all gone, %v differ", got)
	}
}

func TestList(t *testing.T) {
	if (List{}).Document().Content != nil {
		t.Error("a list of nothing is kept")
	}
	l := List{"a": parse(t, "1.json", doc(1, "CVE-1", "pkg:pypi/a@1", "fixed")).Document().Digest}
	got, err := ReadList(l.Document().Content)
	if err != nil || got["a"] != l["a"] || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(tarOf(f, "a.json", doc(1, "CVE-1", "pkg:pypi/a@1", "not_affected"), "b/c.json", "{}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, p, err := Parse(bytes.NewReader(raw), attest.ReadVEX)
		if err != nil {
			return
		}
		again, err := Read(s.Document().Content)
		if err != nil || again.Len() != s.Len() || again.Document().Digest != s.Document().Digest || len(p.Reasons) > maxReasons {
			t.Errorf("kept as %s, %v", s.Document().Content, err)
		}
		if c := s.Changed(again); len(c) != 0 {
			t.Errorf("kept and read, %v differ", c)
		}
	})
}
