package vuln

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// publish puts the records in force in place of whatever the feed had, and
// returns the index afterwards.
func publish(t *testing.T, m *Memory, feed string, raws ...string) *Index {
	t.Helper()
	load, err := m.Begin(t.Context(), "token")
	if err != nil {
		t.Fatal(err)
	}
	b, known := Batch{Feed: feed}, map[string]time.Time{}
	err = m.Heads(t.Context(), feed, func(h Head) error {
		known[h.ID] = h.Known
		if h.InForce {
			b.Close = append(b.Close, h.ID)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var records []*Record
	for _, raw := range raws {
		r := mustParse(t, raw)
		records = append(records, r)
		if known[r.ID].IsZero() {
			known[r.ID] = day(int(load.Seq))
		}
		b.Insert = append(b.Insert, Row{Feed: feed, ID: r.ID, From: load.Seq, Known: known[r.ID], Packed: r.Pack()})
	}
	if err := m.Stage(t.Context(), load, b); err != nil {
		t.Fatal(err)
	}
	s := snapshotOf(records...)
	s.Seq = load.Seq
	if err := m.Update(t.Context(), func(p Publisher) error { return p.Publish(t.Context(), load, s, nil) }); err != nil {
		t.Fatal(err)
	}
	x, err := Load(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestTouched(t *testing.T) {
	zlib := affects("Debian:12 zlib 0 <2", "Debian:11 zlib 0 <1")
	a := rec("A-1", zlib)
	tests := []struct {
		name          string
		before, after []string
		want          []string
	}{
		{"nothing", []string{a}, []string{a}, nil},
		{"new", nil, []string{a}, []string{"deb zlib Debian:11", "deb zlib Debian:12"}},
		{"gone", []string{a}, nil, []string{"deb zlib Debian:11", "deb zlib Debian:12"}},
		{"another text", []string{a}, []string{rec("A-1", zlib, `"summary":"clearer"`)}, nil},
		{"one release fixed", []string{a}, []string{rec("A-1", affects("Debian:12 zlib 0 <3", "Debian:11 zlib 0 <1"))}, []string{"deb zlib Debian:12"}},
		{"rated", []string{a}, []string{rec("A-1", zlib, cvss(cvss98))}, []string{"deb zlib Debian:11", "deb zlib Debian:12"}},
		{"withdrawn", []string{a}, []string{rec("A-1", zlib, `"withdrawn":"2026-01-01T00:00:00Z"`)}, []string{"deb zlib Debian:11", "deb zlib Debian:12"}},
		{"another package", []string{rec("A-1", affects("npm x 0"))}, []string{rec("A-1", affects("npm y 0"))}, []string{"npm x npm", "npm y npm"}},
		{"the same entry twice", nil, []string{rec("A-1", affects("npm x 0", "npm x 0"))}, []string{"npm x npm"}},
		{"a rating that others use",
			[]string{rec("GO-1", aliases("CVE-2024-1"), affects("Go m 0 <1")), rec("B-1", aliases("CVE-2024-1"), cvss(cvss53), affects("Bitnami b 0"))},
			[]string{rec("GO-1", aliases("CVE-2024-1"), affects("Go m 0 <1")), rec("B-1", aliases("CVE-2024-1"), cvss(cvss98), affects("Bitnami b 0"))},
			[]string{"bitnami b Bitnami", "golang m Go"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := NewMemory()
			publish(t, m, "f", tt.before...)
			publish(t, m, "g", tt.after...) // the same in another feed cancels nothing
			x := publish(t, m, "f", tt.after...)
			if d := cmp.Diff(tt.want, touchLines(t, m, 2, x)); d != "" {
				t.Errorf("touched (-want +got):\n%s", d)
			}
		})
	}
}

// touchLines writes what changed since a snapshot as "key ecosystem".
func touchLines(t *testing.T, m *Memory, after int64, x *Index) (out []string) {
	t.Helper()
	c, err := Compare(t.Context(), m, after, x)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range c.Keys() {
		if (k.Type == "apk" || k.Type == "rpm") && len(c.ecosystems[PackageKey{"deb", k.Name}]) > 0 {
			continue // those of a distribution are looked for in all formats
		}
		for _, full := range c.ecosystems[k] {
			out = append(out, fmt.Sprintf("%s %s %s", k.Type, k.Name, full))
		}
	}
	return out
}

// What came and went between two snapshots touches nothing, over several
// snapshots as over one.
func TestTouchedOverSeveral(t *testing.T) {
	m := NewMemory()
	publish(t, m, "f", rec("A-1", affects("npm a 0")), rec("B-1", affects("npm b 0")))
	publish(t, m, "f", rec("A-1", affects("npm a 0 <2")), rec("C-1", affects("npm c 0")))
	x := publish(t, m, "f", rec("A-1", affects("npm a 0")), rec("B-1", affects("npm b 0 <5")))
	for after, want := range map[int64][]string{
		0: {"npm a npm", "npm b npm"},
		1: {"npm b npm"},
		2: {"npm a npm", "npm b npm", "npm c npm"},
		3: nil,
	} {
		if d := cmp.Diff(want, touchLines(t, m, after, x)); d != "" {
			t.Errorf("touched since %d (-want +got):\n%s", after, d)
		}
	}
}

func TestLookups(t *testing.T) {
	x := index(t,
		rec("GHSA-1", aliases("CVE-2024-1"), affects("npm x 0 <2", "npm y 0")),
		rec("DEBIAN-CVE-2024-1", upstream("CVE-2024-1"), affects("Debian:12 x 0", "Debian:11 x 0")),
		rec("GHSA-2", `"withdrawn":"2026-01-01T00:00:00Z"`, aliases("CVE-2024-2"), affects("npm x 0")))
	ids := func(list []Advisory) (out []string) {
		for _, a := range list {
			out = append(out, fmt.Sprintf("%s %s", a.ID, a.Known.Format("02")))
		}
		return out
	}
	for _, tt := range []struct {
		what      string
		got, want []string
	}{
		{"by id", ids(x.Lookup("GHSA-1")), []string{"GHSA-1 01"}},
		{"by CVE", ids(x.Lookup("CVE-2024-1")), []string{"DEBIAN-CVE-2024-1 02", "GHSA-1 01"}},
		{"withdrawn", ids(x.Lookup("CVE-2024-2")), []string{"GHSA-2 03"}},
		{"unknown", ids(x.Lookup("CVE-2024-3")), nil},
		{"by package", ids(x.ByPackage(PackageKey{"deb", "x"})), []string{"DEBIAN-CVE-2024-1 02"}},
		{"by package of npm", ids(x.ByPackage(PackageKey{"npm", "x"})), []string{"GHSA-1 01"}},
		{"by unknown package", ids(x.ByPackage(PackageKey{"npm", "z"})), nil},
	} {
		if d := cmp.Diff(tt.want, tt.got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, d)
		}
	}
	r := x.Lookup("GHSA-1")[0]
	if d := cmp.Diff([]PackageKey{{"npm", "x"}, {"npm", "y"}}, r.Keys()); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
	for text, want := range map[string][2]bool{
		"npm x 1.0 npm": {true, true}, "npm x 2.0 npm": {false, true}, "npm x latest npm": {false, false}, "npm z 1.0 npm": {false, true}, "npm y - npm": {true, true},
	} {
		p := pkg(text)
		affected, known := r.Affects(&p.Package, p.Ecosystem)
		if got := [2]bool{affected, known}; got != want {
			t.Errorf("%s affected, known: %v, want %v", text, got, want)
		}
	}
	withdrawn := x.Lookup("GHSA-2")[0]
	p := pkg("npm x 1 npm")
	if affected, known := withdrawn.Affects(&p.Package, "npm"); affected || !known {
		t.Error("a withdrawn record affects something")
	}
}

func TestKeysOf(t *testing.T) {
	for _, tt := range []struct {
		p    inventory.Package
		want []PackageKey
	}{
		{inventory.Package{Type: "deb", Name: "libssl3", Source: "openssl"}, []PackageKey{{"deb", "openssl"}}},
		{inventory.Package{Type: "apk", Name: "musl"}, []PackageKey{{"apk", "musl"}}},
		{inventory.Package{Type: "rpm", Name: "openssl-libs", Source: "openssl"}, []PackageKey{{"rpm", "openssl-libs"}, {"rpm", "openssl"}}},
		{inventory.Package{Type: "npm", Namespace: "@s", Name: "x"}, []PackageKey{{"npm", "@s/x"}}},
		{inventory.Package{Type: "maven", Namespace: "g", Name: "a"}, []PackageKey{{"maven", "g:a"}}},
		{inventory.Package{Type: "maven", Namespace: "g", Name: "g:a"}, []PackageKey{{"maven", "g:a"}}},
		{inventory.Package{Type: "golang", Namespace: "github.com/Masterminds", Name: "goutils"}, []PackageKey{{"golang", "github.com/masterminds/goutils"}}},
		{inventory.Package{Type: "pypi", Name: "Foo__bar.Baz"}, []PackageKey{{"pypi", "foo-bar-baz"}}},
		{inventory.Package{Type: "unheard-of", Name: "X"}, []PackageKey{{"unheard-of", "X"}}},
	} {
		if d := cmp.Diff(tt.want, KeysOf(&tt.p)); d != "" {
			t.Errorf("keys of %+v (-want +got):\n%s", tt.p, d)
		}
	}
}

func TestFromPURL(t *testing.T) {
	for in, want := range map[string]inventory.Package{
		"pkg:golang/golang.org/x/net@v0.17.0": {Type: "golang", Namespace: "golang.org/x", Name: "net", Version: "v0.17.0", Ecosystem: "Go"},
		"pkg:npm/%40s/x@1":                    {Type: "npm", Namespace: "@s", Name: "x", Version: "1", Ecosystem: "npm"},
		"pkg:deb/debian/libssl3@3.0.9-1?arch=amd64&upstream=openssl&distro=debian-12": {
			Type: "deb", Name: "libssl3", Version: "3.0.9-1", Arch: "amd64", Source: "openssl", Ecosystem: "Debian:12",
		},
		"pkg:apk/alpine/musl@1.2?distro=alpine-3.20.1": {Type: "apk", Name: "musl", Version: "1.2", Ecosystem: "Alpine:v3.20"},
		"pkg:deb/debian/bash":                          {Type: "deb", Name: "bash", Ecosystem: "Debian"},
	} {
		got, err := FromPURL(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", in, d)
		}
	}
	for _, in := range []string{"openssl", "pkg:zzz", ""} {
		if _, err := FromPURL(in); !errors.Is(err, ErrPURLInvalid) {
			t.Errorf("%q: error %v, want one that matches ErrPURLInvalid", in, err)
		}
	}
}

func TestLive(t *testing.T) {
	m := NewMemory()
	live := NewLive(m)
	im := image("npm x 1 npm")
	ask := func() (int, int) {
		findings, checked := live.Index().Findings(im)
		return len(findings), len(checked.Gaps)
	}
	if changed, err := live.Refresh(t.Context()); changed || err != nil {
		t.Errorf("refreshed without a snapshot: %v, %v", changed, err)
	}
	if n, gaps := ask(); n != 0 || gaps != 1 {
		t.Errorf("nothing is loaded, and says %d findings, %d gaps", n, gaps)
	}
	publish(t, m, "f", rec("A-1", affects("npm x 0")))
	for i, want := range []bool{true, false} {
		if changed, err := live.Refresh(t.Context()); changed != want || err != nil {
			t.Errorf("refresh %d: %v, %v", i, changed, err)
		}
	}
	if n, gaps := ask(); n != 1 || gaps != 0 {
		t.Errorf("one is loaded, and says %d findings, %d gaps", n, gaps)
	}
}

func TestMemoIsBounded(t *testing.T) {
	m := newMemo(100)
	for i := range 10_000 {
		m.put(memoKey{name: fmt.Sprint(i)}, &result{faults: make([]fault, i%7)})
		if i%10 == 0 {
			m.get(memoKey{name: "0"})
		}
		size := len(m.young) + len(m.old)
		for _, generation := range []map[memoKey]*result{m.young, m.old} {
			for _, r := range generation {
				size += len(r.faults)
			}
		}
		if size > 100+2*8 {
			t.Fatalf("after %d results the memo holds %d", i, size)
		}
	}
	if _, ok := m.get(memoKey{name: "0"}); !ok {
		t.Error("what is asked for all the time was forgotten")
	}
	if _, ok := m.get(memoKey{name: "1"}); ok {
		t.Error("what nobody asked for is remembered")
	}
}

// One index serves many at once, while the memo turns over.
func TestFindingsAtOnce(t *testing.T) {
	x := build(t, synthetic(2_000))
	x.memo = newMemo(50)
	im := debian(x)
	want, _ := x.Findings(im)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 3 {
				if got, _ := x.Findings(im); len(got) != len(want) {
					t.Errorf("%d findings, want %d", len(got), len(want))
				}
			}
		})
	}
	wg.Wait()
}
