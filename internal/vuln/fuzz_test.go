package vuln

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/cputest"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// use does with a record all that is done with records.
func use(t *testing.T, r *Record) {
	packed := r.Pack()
	got, err := Unpack(packed)
	if err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	again := got.Pack()
	if !slices.Equal(packed, again) {
		t.Fatal("packing what was unpacked gives other bytes")
	}
	r.Carry(got, day(1))
	b := NewBuilder()
	if err := b.Add(Row{ID: r.ID, Packed: packed}); err != nil {
		t.Fatal(err)
	}
	x := b.Index(snapshotOf(r))
	for i := range r.Affected[:min(len(r.Affected), 3)] {
		a := &r.Affected[i]
		for _, v := range versionsOf(a) {
			p := inventory.Package{Type: typeOf(a.Ecosystem), Name: a.Name, Version: v, Ecosystem: a.Ecosystem}
			affected, known := got.Affects(&p, a.Ecosystem)
			findings, checked := x.Findings(&inventory.Image{Packages: []inventory.Located{{Package: p}}})
			if found := len(findings) > 0; found != affected || !found && known != checked.Complete() {
				t.Fatalf("%s %s %q: affects %v, known %v; found %v, gaps %v", a.Ecosystem, a.Name, v, affected, known, lines(findings), gapLines(checked))
			}
		}
	}
	if len(x.Lookup(r.ID)) != 1 {
		t.Fatal("the record is not found by its id")
	}
	x.ByPackage(PackageKey{"npm", "x"})
}

// versionsOf returns some versions that the entry mentions, and some others.
func versionsOf(a *Affected) []string {
	out := []string{"", "1.2.3", "1:1.0-1", "latest"}
	for _, r := range a.Ranges {
		for _, e := range r.Events {
			out = append(out, e.Version)
		}
	}
	out = append(out, a.Versions...)
	return out[:min(len(out), 30)]
}

func FuzzParseRecord(f *testing.F) {
	n := 0
	excerpt(f, func(_, _ string, raw []byte) {
		if n++; n%20 == 0 {
			f.Add(raw)
		}
	})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ParseRecord(raw)
		if err != nil {
			return
		}
		got, err := Unpack(r.Pack())
		if err != nil {
			t.Fatal(err)
		}
		got.Modified, got.Published, got.Withdrawn = r.Modified, r.Published, r.Withdrawn
		if d := cmp.Diff(r, got); d != "" {
			t.Fatalf("unpacked (-packed +unpacked):\n%s", d)
		}
		use(t, r)
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add(full().Pack())
	f.Add((&Record{ID: "A-1"}).Pack())
	f.Fuzz(func(t *testing.T, packed []byte) {
		r, err := Unpack(packed)
		if err != nil {
			// A row is read as far as it is indexed; its rest must not panic.
			b := NewBuilder()
			if b.Add(Row{Packed: packed}) != nil {
				return
			}
			x := b.Index(snapshotOf())
			for key := range x.keys {
				eco, name, _ := strings.Cut(key, "\x00")
				x.match(eco, name, "1.2.3")
			}
			return
		}
		// Other bytes can mean the same record; packed anew they are the ones.
		again, err := Unpack(r.Pack())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r, again); d != "" {
			t.Fatalf("unpacked again (-first +second):\n%s", d)
		}
	})
}

func FuzzVector(f *testing.F) {
	for _, v := range []string{
		cvss98, cvss75, "AV:N/AC:L/Au:N/C:C/I:C/A:C", "(AV:L/AC:H/Au:N/C:P/I:N/A:N)", "CVSS:3.0/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:L/A:N",
		"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H/E:A/CR:H",
	} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, vector string) {
		r, version := rateVector(vector)
		if (version == 0) != (r == Rating{}) || r.Score < 0 || r.Score > 10 || version > 0 && r.Level.Rank() == 0 {
			t.Errorf("%q: rating %+v by version %d", vector, r, version)
		}
	})
}

// FuzzCompare sees to it that no version of a package or an advisory makes the
// comparison panic, take long, or depend on the side it is asked from.
func FuzzCompare(f *testing.F) {
	var names []string
	for name := range ecosystems {
		names = append(names, name)
	}
	slices.Sort(names)
	versions := []string{"0", "1.2.3", "1:1.0-1~deb12u1", "1.0_rc1-r2", "1.0.post1.dev2+local", "go1.22rc1", "${x}", "v1.2.3-beta.1+build", "1.0-alpha-1-SNAPSHOT", "~", "-", "^1", "!1", "1!2"}
	for i, v := range versions {
		f.Add(uint8(i), v, versions[len(versions)-1-i])
	}
	f.Fuzz(func(t *testing.T, which uint8, a, b string) {
		name := names[int(which)%len(names)]
		eco := ecosystems[name]
		start := cputest.Used(t)
		va, vb := parseVersion(&eco, a, true), parseVersion(&eco, b, true)
		ab, ba := compareParsed(va, vb), compareParsed(vb, va)
		if (va == nil || vb == nil) && ab != incomparable {
			t.Errorf("%s: %q and %q compare although one cannot be read", name, a, b)
		}
		if (ab == incomparable) != (ba == incomparable) {
			t.Errorf("%s: %q and %q compare from one side only", name, a, b)
		}
		if c := newComparer(&eco, a); c.numbers && vb != nil {
			if sign, ok := compareNumbers(c.plain, []byte(b)); ok && sign != int(ab) {
				t.Errorf("%s: the numbers of %q and %q compare to %d, the versions to %d", name, a, b, sign, ab)
			}
		}
		if d := cputest.Used(t) - start; d > time.Second {
			t.Errorf("%s: comparing %q with %q took %s", name, a, b, d)
		}
	})
}
