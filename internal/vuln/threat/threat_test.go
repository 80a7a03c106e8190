package threat

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/testparts"
)

func day(text string) time.Time {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return t
}

// catalogOf is a catalog of entries, "CVE added due use".
func catalogOf(entries ...string) string {
	var list []string
	for _, e := range entries {
		f := strings.Fields(e)
		list = append(list, fmt.Sprintf(`{"cveID":%q,"dateAdded":%q,"dueDate":%q,"knownRansomwareCampaignUse":%q,"product":"x"}`, f[0], f[1], f[2], f[3]))
	}
	return fmt.Sprintf(`{"title":"t","dateReleased":"2026-08-07T16:45:47.0648Z","count":%d,"vulnerabilities":[%s]}`, len(list), strings.Join(list, ","))
}

func exploits(t testing.TB, entries ...string) *Exploits {
	t.Helper()
	x, p, err := ParseKEV(strings.NewReader(catalogOf(entries...)))
	if err != nil || p.Skipped > 0 {
		t.Fatal(err, p)
	}
	return x
}

func scores(t testing.TB, rows ...string) *Scores {
	t.Helper()
	x, p, err := ParseEPSS(strings.NewReader("cve,epss,percentile\n" + strings.Join(rows, "\n")))
	if err != nil || p.Skipped > 0 {
		t.Fatal(err, p)
	}
	return x
}

func TestParseKEV(t *testing.T) {
	x, p, err := ParseKEV(strings.NewReader(catalogOf(
		"CVE-2021-44228 2021-12-10 2021-12-24 Known", "CVE-2024-3094 2024-04-01 - Unknown", "GHSA-1 2024-04-01 - Unknown", "CVE-2024-3095 today - Unknown",
		"CVE-2021-44228 2021-12-09 2021-12-30 Unknown",
	)))
	if err != nil {
		t.Fatal(err)
	}
	wantP := Published{At: time.Date(2026, 8, 7, 16, 45, 47, 64800000, time.UTC), Skipped: 2, Reasons: []string{`"GHSA-1" is no CVE id`, `CVE-2024-3095: dateAdded "today" is no date`}}
	if d := cmp.Diff(wantP, p); d != "" {
		t.Error(d)
	}
	want := map[string]Exploit{"CVE-2021-44228": {day("2021-12-09"), day("2021-12-24"), true}, "CVE-2024-3094": {Since: day("2024-04-01")}}
	kept, err := ReadExploits(x.Document().Content)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Exploits{x, kept} {
		got := map[string]Exploit{}
		for n, e := range c.by {
			got[n.String()] = e
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	if _, ok := x.Find("CVE-2024-3095"); ok {
		t.Error("found what was skipped")
	}
	if kept.Document().Digest != x.Document().Digest {
		t.Error("what is kept has another digest")
	}
}

func TestParseRefuses(t *testing.T) {
	kev := func(s string) error { _, _, err := ParseKEV(strings.NewReader(s)); return err }
	epss := func(s string) error { _, _, err := ParseEPSS(strings.NewReader(s)); return err }
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprint(z, "cve,epss,percentile\n", strings.Repeat("CVE-2021-44228,0.5,0.5\n", 1000))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"no JSON":           kev("<html>"),
		"another JSON":      kev(`{"id":"GO-1"}`),
		"fewer than said":   kev(`{"count":2,"vulnerabilities":[{"cveID":"CVE-2021-44228","dateAdded":"2021-12-10"}]}`),
		"no header":         epss("CVE-2021-44228,0.5,0.5\n"),
		"no rows":           epss("cve,epss,percentile\n"),
		"nothing":           epss(""),
		"a page":            epss("<html>"),
		"broken off":        epss(packed.String()[:packed.Len()/2]),
		"no end":            epss(packed.String()[:packed.Len()-8]),
		"a line without it": epss("cve,epss,percentile\n" + strings.Repeat("x", 1<<20)),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := epss(packed.String()); err != nil {
		t.Error(err)
	}
}

func TestParseEPSS(t *testing.T) {
	x, p, err := ParseEPSS(strings.NewReader("#model_version:v2025.03.14,score_date:2026-08-16T00:00:00+0000\r\ncve,epss,percentile\r\n" +
		"CVE-2021-44228,0.94358,0.99961\nCVE-1999-0001,0.03351,0.8765\nCVE-2024-1234567,0.000001,1\nCVE-2024-1,0.1,0.1\nCVE-2024-1111,1.1,0.1\nCVE-2024-1112,NaN,0.1\nCVE-1999-0001,0.5,0.9\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !p.At.Equal(day("2026-08-16")) || p.Skipped != 3 {
		t.Errorf("%+v", p)
	}
	kept, err := ReadScores(x.Document().Content)
	if err != nil || kept.Document().Digest != x.Document().Digest {
		t.Fatal(err)
	}
	for id, want := range map[string]Score{"CVE-2021-44228": {0.94358, 0.99961}, "CVE-1999-0001": {0.5, 0.9}, "CVE-2024-1234567": {0.00001, 1}, "CVE-2024-1111": {}, "x": {}} {
		if got, ok := kept.Find(id); got != want || ok != (want != Score{}) {
			t.Errorf("%s: %v, %v", id, got, ok)
		}
	}
}

func TestOf(t *testing.T) {
	k := Known{
		Exploits: exploits(t, "CVE-2024-0001 2024-05-01 2024-05-20 Unknown", "CVE-2024-0002 2024-04-01 2024-06-01 Known"),
		Scores:   scores(t, "CVE-2024-0001,0.2,0.8", "CVE-2024-0003,0.3,0.9"),
	}
	ids := []string{"DSA-1", "CVE-2024-0001", "CVE-2024-0002", "CVE-2024-0003"}
	want := Facts{Exploited: day("2024-04-01"), Due: day("2024-05-20"), Ransomware: true, EPSS: 0.3, Percentile: 0.9}
	if got := k.Of(ids...); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := (Known{}).Of(ids...); got != (Facts{}) {
		t.Errorf("nothing was loaded: %+v", got)
	}
}

func TestChanged(t *testing.T) {
	before := Known{
		Exploits: exploits(t, "CVE-2024-0001 2024-05-01 2024-05-20 Unknown", "CVE-2024-0002 2024-05-01 2024-05-20 Unknown", "CVE-2024-0003 2024-05-01 2024-05-20 Unknown"),
		Scores:   scores(t, "CVE-2024-1001,0.09999,0.8", "CVE-2024-1002,0.1,0.8", "CVE-2024-1003,0.3,0.8", "CVE-2024-1004,0.2,0.8", "CVE-2024-1005,0.2,0.8"),
	}
	now := Known{
		Exploits: exploits(t, "CVE-2024-0001 2024-05-01 2024-05-20 Unknown", "CVE-2024-0002 2024-05-01 2024-05-20 Known", "CVE-2024-0004 2024-05-01 2024-05-20 Unknown"),
		Scores:   scores(t, "CVE-2024-1001,0.1,0.8", "CVE-2024-1002,0.2,0.8", "CVE-2024-1003,0.3,0.8", "CVE-2024-1005,0.05,0.8", "CVE-2024-1006,0.7,0.8"),
	}
	kev := []string{"CVE-2024-0002", "CVE-2024-0003", "CVE-2024-0004"}
	for _, test := range []struct {
		a    Attention
		want []string
	}{
		{Attention{}, nil},
		{Attention{Thresholds: []float64{0.5, 0.1}}, []string{"CVE-2024-1001", "CVE-2024-1004", "CVE-2024-1005", "CVE-2024-1006"}},
		{Attention{Thresholds: []float64{0.25}}, []string{"CVE-2024-1006"}},
		{Attention{All: true}, []string{"CVE-2024-1001", "CVE-2024-1002", "CVE-2024-1004", "CVE-2024-1005", "CVE-2024-1006"}},
	} {
		if d := cmp.Diff(append(slices.Clone(kev), test.want...), now.Changed(before, test.a)); d != "" {
			t.Errorf("%+v: %s", test.a, d)
		}
	}
	if got := now.Changed(now, Attention{All: true}); len(got) > 0 {
		t.Errorf("nothing changed: %v", got)
	}
	if got := now.Changed(Known{}, Attention{}); len(got) != 3 {
		t.Errorf("loaded first: %v", got)
	}
	if c := now.Scores.Change(before.Scores); c != (Change{1, 3, 1}) {
		t.Errorf("%+v", c)
	}
	if c := now.Exploits.Change(before.Exploits); c != (Change{1, 1, 1}) {
		t.Errorf("%+v", c)
	}
}

// TestPublished reads what the publishers have published.
func TestPublished(t *testing.T) {
	root := testparts.Feeds(t)
	read := func(name string) *os.File {
		names, err := filepath.Glob(filepath.Join(root, name))
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		f, err := os.Open(names[0])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	x, p, err := ParseKEV(read("kev/known_exploited_vulnerabilities.json"))
	if err != nil || p.Skipped > 0 || x.Len() < 1600 {
		t.Fatalf("%d, %+v, %v", x.Len(), p, err)
	}
	if e, ok := x.Find("CVE-2021-44228"); !ok || !e.Since.Equal(day("2021-12-10")) || !e.Ransomware {
		t.Errorf("log4shell: %+v, %v", e, ok)
	}
	s, q, err := ParseEPSS(read("epss/epss_scores-*.csv.gz"))
	if err != nil || q.Skipped > 0 || s.Len() < 360_000 || !q.At.Equal(day("2026-08-16")) {
		t.Fatalf("%d, %+v, %v", s.Len(), q, err)
	}
	d := s.Document()
	kept, err := ReadScores(d.Content)
	if err != nil || kept.Len() != s.Len() || kept.Document().Digest != d.Digest {
		t.Error(err)
	}
	t.Logf("%d exploited in %d bytes, %d scored in %d bytes", x.Len(), len(x.Document().Content), s.Len(), len(d.Content))
	if len(d.Content) > 8*s.Len() {
		t.Errorf("scores take %d bytes", len(d.Content))
	}
}

// manyScores are n scores, most of which are low.
func manyScores(n int, seed uint64) *Scores {
	r := rand.New(rand.NewPCG(seed, 1))
	x := &Scores{}
	for i := range n {
		e := r.ExpFloat64() / 50
		x.all = append(x.all, scored{number(uint64(1999+i/13000)<<numberBits | uint64(1000+i%13000)), uint32(1 + min(e, 0.99)*unit), uint32(r.IntN(unit))})
	}
	return x
}

// drift is the same scores a day later: each is a little other.
func (x *Scores) drift(seed uint64) *Scores {
	r := rand.New(rand.NewPCG(seed, 2))
	y := &Scores{all: slices.Clone(x.all)}
	for i := range y.all {
		s := &y.all[i]
		s.epss = min(unit, max(1, uint32(float64(s.epss)*(0.98+0.04*r.Float64()))))
	}
	return y
}

// BenchmarkChanged is a day's scores of 360 000 faults held against those of the
// day before, all of which are other.
func BenchmarkChanged(b *testing.B) {
	before := manyScores(360_000, 1)
	now := before.drift(3)
	n := 0
	for b.Loop() {
		n = len(Known{Scores: now}.Changed(Known{Scores: before}, Attention{Thresholds: []float64{0.1, 0.5}}))
	}
	b.ReportMetric(float64(n), "crossed")
	if n == 0 || n > 3600 {
		b.Errorf("%d of 360000 crossed a threshold", n)
	}
}

func FuzzParseKEV(f *testing.F) {
	f.Add(catalogOf("CVE-2021-44228 2021-12-10 2021-12-24 Known"))
	f.Fuzz(func(t *testing.T, text string) {
		x, _, err := ParseKEV(strings.NewReader(text))
		if err != nil {
			return
		}
		kept, err := ReadExploits(x.Document().Content)
		if err != nil || len(kept.changed(x)) > 0 {
			t.Fatalf("%v: %v", err, kept.changed(x))
		}
	})
}

func FuzzParseEPSS(f *testing.F) {
	f.Add([]byte("#model_version:v1,score_date:2026-08-16T00:00:00Z\ncve,epss,percentile\nCVE-2021-44228,0.94358,0.99961\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		x, _, err := ParseEPSS(bytes.NewReader(text))
		if err != nil {
			return
		}
		kept, err := ReadScores(x.Document().Content)
		if x.Len() == 0 || err != nil || len(kept.changed(x, Attention{All: true})) > 0 {
			t.Fatalf("%d, %v", x.Len(), err)
		}
	})
}

func FuzzReadScores(f *testing.F) {
	f.Add([]byte(scoresForm + "\x81\x80\x04\x01\x02"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if x, err := ReadScores(content); err == nil && x.Len() > 0 {
			if _, ok := x.find(x.all[0].n); !ok {
				t.Fatal("the first cannot be found")
			}
		}
	})
}
