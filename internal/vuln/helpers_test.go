package vuln

import (
	"archive/zip"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// day returns a day of 2026, when records of tests became known.
func day(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }

// mustParse reads the text of a record.
func mustParse(t testing.TB, raw string) *Record {
	t.Helper()
	r, err := ParseRecord([]byte(raw))
	if err != nil {
		t.Fatalf("parsing %s: %v", raw, err)
	}
	return r
}

// index builds an index of records, the first of which became known on the
// first of January and so on, that covers every ecosystem they name.
func index(t testing.TB, raws ...string) *Index {
	t.Helper()
	b := NewBuilder()
	var records []*Record
	for i, raw := range raws {
		r := mustParse(t, raw)
		if err := b.Add(Row{Feed: "f", ID: r.ID, Known: day(i + 1), Packed: r.Pack()}); err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	return b.Index(snapshotOf(records...))
}

// snapshotOf covers the ecosystems that the records name.
func snapshotOf(records ...*Record) evidence.Snapshot {
	s := evidence.Snapshot{Seq: 1}
	for _, r := range records {
		for _, a := range r.Affected {
			s.Ecosystems = append(s.Ecosystems, BaseEcosystem(a.Ecosystem))
		}
	}
	return s
}

// affects is one entry of affected: "Debian:12 zlib 0 <1.2" reads ecosystem,
// name, then events: a version introduces, <v fixes, <=v is the last affected,
// ^v limits. In ecosystem and name, + stands for a blank.
func affects(texts ...string) string {
	var entries []string
	for _, text := range texts {
		fields := strings.Fields(text)
		var events []string
		for _, f := range fields[2:] {
			kind := "introduced"
			for prefix, k := range map[string]string{"<=": "last_affected", "<": "fixed", "^": "limit"} {
				if v, ok := strings.CutPrefix(f, prefix); ok && !strings.HasPrefix(v, "=") {
					f, kind = v, k
				}
			}
			events = append(events, fmt.Sprintf(`{%q:%q}`, kind, f))
		}
		entries = append(entries, fmt.Sprintf(`{"package":{"ecosystem":%q,"name":%q},"ranges":[{"type":"ECOSYSTEM","events":[%s]}]}`,
			strings.ReplaceAll(fields[0], "+", " "), strings.ReplaceAll(fields[1], "+", " "), strings.Join(events, ",")))
	}
	return `"affected":[` + strings.Join(entries, ",") + `]`
}

// rec is the text of a record: its id, then any fields.
func rec(id string, fields ...string) string {
	return `{` + strings.Join(append([]string{fmt.Sprintf(`"id":%q,"modified":"2026-01-01T00:00:00Z"`, id)}, fields...), ",") + `}`
}

func list(name string, ids ...string) string {
	return fmt.Sprintf(`%q:["%s"]`, name, strings.Join(ids, `","`))
}

func aliases(ids ...string) string  { return list("aliases", ids...) }
func upstream(ids ...string) string { return list("upstream", ids...) }

// cvss is a severity list of one vector.
func cvss(vector string) string {
	return fmt.Sprintf(`"severity":[{"type":"CVSS_V3","score":%q}]`, vector)
}

const (
	cvss98 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H" // 9.8, critical
	cvss75 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H" // 7.5, high
	cvss53 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:L" // 5.3, medium
)

// pkg is a package of an image: "deb libssl3 3.0.9-1 Debian:12 openssl" reads
// type, name, version, ecosystem, source. A version of - is missing.
func pkg(text string) inventory.Located {
	f := append(strings.Fields(text), "", "")
	p := inventory.Package{Type: f[0], Name: f[1], Version: strings.Trim(f[2], "-"), Ecosystem: strings.ReplaceAll(f[3], "+", " "), Source: f[4]}
	return inventory.Located{Package: p, PURL: "pkg:" + p.Type + "/" + p.Name + "@" + p.Version, Path: "var/lib/" + p.Name}
}

func image(texts ...string) *inventory.Image {
	im := &inventory.Image{}
	for _, text := range texts {
		im.Packages = append(im.Packages, pkg(text))
	}
	return im
}

// lines writes findings as "package: id (aliases) severity fixed version".
func lines(findings []evidence.Finding) []string {
	out := []string{}
	for _, f := range findings {
		line := f.Package + ": " + f.ID
		if len(f.Aliases) > 0 {
			line += " (" + strings.Join(f.Aliases, " ") + ")"
		}
		line += " " + string(f.Severity)
		if f.Fixed != "" {
			line += " fixed " + f.Fixed
		}
		out = append(out, line)
	}
	return out
}

// gapLines writes gaps as "reason: ecosystem, packages (advisories)".
func gapLines(c Checked) []string {
	out := []string{}
	for _, g := range c.Gaps {
		line := fmt.Sprintf("%s: %s, %d", g.Reason, g.Ecosystem, g.Packages)
		if len(g.Advisories) > 0 {
			line += " (" + strings.Join(g.Advisories, " ") + ")"
		}
		out = append(out, line)
	}
	return out
}

// excerpt calls fn with every record of testdata/osv.
func excerpt(t testing.TB, fn func(ecosystem, name string, raw []byte)) {
	t.Helper()
	archives, err := filepath.Glob("../../testdata/osv/*/all.zip")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no excerpt of advisories: %v", err)
	}
	for _, path := range archives {
		z, err := zip.OpenReader(path)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
			fn(filepath.Base(filepath.Dir(path)), f.Name, raw)
		}
	}
}
