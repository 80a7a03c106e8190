package vuln

import (
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// full is a record with everything in it that can be packed.
func full() *Record {
	return &Record{
		ID: "DSA-1-1", Published: time.Unix(1700000000, 0).UTC(), Withdrawn: time.Unix(1800000000, 0).UTC(),
		Aliases: []string{"CVE-2024-1"}, Upstream: []string{"CVE-2024-2", "DSA-1-1"}, Summary: "zlib – falls over", Malicious: true, Ignored: 3,
		Rating: Rating{Level: evidence.Critical, Score: 9.8, Vector: "V"},
		Affected: []Affected{
			{Ecosystem: "Debian:12", Name: "zlib", Ranges: []Range{{Events: []Event{{Introduced, "0"}, {Fixed, "1.2.3-4"}}}}},
			{
				Ecosystem: "Debian:12", Name: "zlib", Rating: Rating{Level: evidence.Negligible, Vendor: true}, Since: time.Unix(1750000000, 0).UTC(),
				Ranges: []Range{
					{Semver: true, Events: []Event{{Introduced, "0"}, {Fixed, "1.2.3-4"}}},
					{Unordered: true, Events: []Event{{Introduced, "1"}, {LastAffected, "2"}, {Limit, "3"}}},
				},
				Versions: []string{"0.1", "1.2.3-4"},
			},
			{Ecosystem: "npm", Name: "zlib", Versions: []string{"1"}},
		},
	}
}

// golden is what full packs to under PackFormat 1. Rows hold these bytes: when
// they change, PackFormat must grow.
const golden = "" +
	"0101" + "8662" + "0256" + // format, flags; rating: critical with a vector, 9.8, "V"
	"084453412d312d31" + // id
	"147a6c696220e280932066616c6c73206f766572" + // summary
	"81e2cfaa06" + "81a4a7da06" + // published, withdrawn
	"01" + "0b4356452d323032342d31" + // aliases
	"02" + "0b4356452d323032342d32" + "003e" + // upstream, the second 62 bytes back
	"03" + "03" + // ignored, entries
	"180000" + "0a44656269616e3a3132" + "057a6c6962" + "04" + "08312e322e332d34" + // simple: its fix alone
	"260000" + "001b" + "0013" + "0b" + "42" + "81c3bbc206" + // the same names; rating: negligible, vendor; since
	"02" + "01" + "02" + "000230" + "01001d" + // two ranges: semver, two events
	"02" + "03" + "000231" + "020232" + "030233" + // unordered, three events
	"02" + "04302e31" + "002f" + // two versions
	"0b0000" + "046e706d" + "003e" + "02" + "00" + "01" + "0231" // no range, one version

func TestPackedForm(t *testing.T) {
	packed := full().Pack()
	if got := hex.EncodeToString(packed); got != golden {
		t.Errorf("packed form is\n%s, want\n%s", got, golden)
	}
	got, err := Unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(full(), got); d != "" {
		t.Errorf("unpacked (-packed +unpacked):\n%s", d)
	}
	c := cursor{rec: packed}
	h := c.header()
	entry := c.entry()
	if c.err != nil || h.entries != 3 || string(entry.ecosystem) != "Debian:12" {
		t.Errorf("header %+v, first entry %+v, error %v", h, entry, c.err)
	}
}

func TestDamagedPackedForm(t *testing.T) {
	packed := full().Pack()
	for n := range packed {
		if _, err := Unpack(packed[:n]); !errors.Is(err, errPacked) {
			t.Fatalf("the first %d of %d bytes unpack: %v", n, len(packed), err)
		}
	}
	if _, err := Unpack(append(packed, 0)); err == nil {
		t.Error("a byte too many is accepted")
	}
	other := append([]byte(nil), packed...)
	other[0]++
	if _, err := Unpack(other); err == nil {
		t.Error("another format is accepted")
	}
	if err := NewBuilder().Add(Row{Packed: packed[:20]}); err == nil {
		t.Error("a damaged row is indexed")
	}
}

func TestTimesOutsideOfPackedForm(t *testing.T) {
	for _, in := range []time.Time{{}, time.Unix(-5, 0), time.Date(1, 2, 3, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		r, err := Unpack((&Record{ID: "A", Withdrawn: in}).Pack())
		if err != nil || r.Withdrawn.IsZero() != in.IsZero() {
			t.Errorf("withdrawn %v becomes %v, error %v", in, r.Withdrawn, err)
		}
	}
}

func TestCarry(t *testing.T) {
	before := mustParse(t, rec("A-1", cvss(cvss53), affects("npm a 0 <1", "npm b 0 <1", "npm c 0 <1", "npm d 0")))
	before.Affected[2].Since = day(3)
	after := mustParse(t, rec("A-1", cvss(cvss53), `"summary":"more"`, affects("npm a 0 <1", "npm b 0 <2", "npm c 0.5 <1", "npm d 0 <1", "npm e 0 <1")))
	after.Carry(before, day(9).Add(5*time.Millisecond))
	var got []string
	for _, a := range after.Affected {
		since := "always"
		if !a.Since.IsZero() {
			since = a.Since.Format("02")
		}
		got = append(got, a.Name+" "+since)
	}
	if d := cmp.Diff([]string{"a always", "b 09", "c 03", "d 09", "e 09"}, got); d != "" {
		t.Errorf("since (-want +got):\n%s", d)
	}
	worse := mustParse(t, rec("A-1", cvss(cvss98), affects("npm a 0 <1")))
	worse.Carry(before, day(9))
	if worse.Affected[0].Since != day(9) {
		t.Error("a worse rating is not said anew")
	}
}

func TestSince(t *testing.T) {
	rated := rec("B-1", aliases("CVE-2024-1"), cvss(cvss98), affects("Bitnami x 0"))
	for _, tt := range []struct {
		name    string
		records []string // known on the first, second, … of January
		since   map[int]time.Time
		want    time.Time
	}{
		{"as ever", []string{rec("A-1", cvss(cvss53), affects("npm a 0 <2"))}, nil, time.Time{}},
		{"a fix that came later", []string{rec("A-1", affects("npm a 0 <2"))}, map[int]time.Time{0: day(7)}, day(7)},
		{"a rating from elsewhere that came later", []string{rec("A-1", aliases("CVE-2024-1"), affects("npm a 0 <2")), rated}, nil, day(2)},
		{"an alias that rates, later", []string{rec("A-1", affects("npm a 0 <2")), rec("GHSA-1", aliases("A-1"), cvss(cvss98), affects("npm a 0 <2"))}, nil, day(2)},
		{"an alias that adds nothing, later", []string{rec("GHSA-1", cvss(cvss98), affects("npm a 0 <2")), rec("A-1", aliases("GHSA-1"), affects("npm a 0 <2"))}, nil, time.Time{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := NewBuilder()
			for i, raw := range tt.records {
				r := mustParse(t, raw)
				for j := range r.Affected {
					r.Affected[j].Since = tt.since[i]
				}
				if err := b.Add(Row{ID: r.ID, Known: day(i + 1), Packed: r.Pack()}); err != nil {
					t.Fatal(err)
				}
			}
			x := b.Index(evidence.Snapshot{Ecosystems: []string{"npm"}})
			findings, _ := x.Findings(image("npm a 1 npm"))
			if len(findings) != 1 || !findings[0].Since.Equal(tt.want) || !findings[0].Known.Equal(day(1)) {
				t.Errorf("findings %+v, want one since %v", findings, tt.want)
			}
		})
	}
}
