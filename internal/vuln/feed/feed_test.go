package feed

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// bench is a loader over a store in memory, a folder of feeds and a clock.
type bench struct {
	*testing.T
	store  *vuln.Memory
	root   string
	now    time.Time
	loader *Loader
	opts   Options
	source Source
	fail   error    // what committing returns
	waits  []string // how long the loader waited
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, store: vuln.NewMemory(), root: t.TempDir(), now: time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)}
	b.source = Source{Name: "osv", Location: b.root}
	tokens := 0
	b.opts = Options{
		ReadVEX: attest.ReadVEX,
		Reader:  b.store, Stager: b.store, Commit: b.commit, Temp: t.TempDir(),
		Now: func() time.Time { return b.now }, Rand: rand.New(rand.NewPCG(1, 2)),
		Wait: func(ctx context.Context, d time.Duration) error {
			b.waits = append(b.waits, d.Round(100*time.Millisecond).String())
			return ctx.Err()
		},
		Token: func() string { tokens++; return fmt.Sprint("token-", tokens) },
		Log:   slog.New(slog.DiscardHandler),
	}
	b.loader = NewLoader(b.opts)
	return b
}

func (b *bench) commit(ctx context.Context, c Change) error {
	if b.fail != nil {
		return b.fail
	}
	return b.store.Update(ctx, func(p vuln.Publisher) error { return c.Apply(ctx, p) })
}

// record is the text of a record of one PyPI package.
func record(id, fixed string, more ...string) string {
	return fmt.Sprintf(`{"id":%q,"modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"PyPI","name":"pkg-%s"},`+
		`"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":%q}]}]}]%s}`, id, strings.ToLower(id), fixed, strings.Join(more, ""))
}

const withdrawn = `,"withdrawn":"2026-02-01T00:00:00Z"`

// records returns n records P-000, P-001, …
func records(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		id := fmt.Sprintf("P-%03d", i)
		files[id+".json"] = record(id, "2.0")
	}
	return files
}

func zipped(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// put writes the archive of an ecosystem.
func (b *bench) put(ecosystem string, files map[string]string) {
	b.Helper()
	b.putRaw(ecosystem, zipped(b, files))
}

func (b *bench) putRaw(ecosystem string, raw []byte) {
	b.Helper()
	path := filepath.Join(b.root, ecosystem, "all.zip")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, raw, 0o644)); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) load() Result {
	b.Helper()
	b.now = b.now.Add(time.Hour)
	r, err := b.loader.Load(b.Context(), b.source)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// rows returns "feed/ID from known withdrawn" of what is in force.
func (b *bench) rows() (out []string) {
	b.Helper()
	s, err := b.store.Current(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if s.Seq == 0 {
		return nil
	}
	err = b.store.Rows(b.Context(), s.Seq, func(r vuln.Row) error {
		line := fmt.Sprintf("%s/%s from %d known %s", r.Feed, r.ID, r.From, r.Known.Format("15:04"))
		if !r.Withdrawn.IsZero() {
			line += " withdrawn"
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func (b *bench) state(name string) vuln.FeedState {
	b.Helper()
	states, err := b.store.Feeds(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range states {
		if s.Name == name {
			return s
		}
	}
	b.Fatalf("no state of feed %s", name)
	return vuln.FeedState{}
}

func (b *bench) want(what string, got, want any) {
	b.Helper()
	if d := cmp.Diff(want, got); d != "" {
		b.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// summary is "name: records new changed withdrawn gone skipped".
func summary(r Result) (out []string) {
	for _, f := range r.Feeds {
		line := fmt.Sprintf("%s: %d records, %d new, %d changed, %d withdrawn, %d gone, %d skipped", f.Name, f.Records, f.New, f.Changed, f.Withdrawn, f.Gone, f.Skipped)
		if f.Unchanged {
			line += ", unchanged"
		}
		if f.Err != nil {
			line += ", refused"
		}
		out = append(out, line)
	}
	return out
}

func TestLoadAndLoadAgain(t *testing.T) {
	b := newBench(t)
	files := map[string]string{"A-1.json": record("A-1", "2.0"), "A-2.json": record("A-2", "2.0"), "README.txt": "no record"}
	b.put("PyPI", files)
	b.put("npm", map[string]string{"N-1.json": record("N-1", "1")})
	r := b.load()
	b.want("first load", summary(r), []string{
		"osv/PyPI: 2 records, 2 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped",
		"osv/npm: 1 records, 1 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped",
	})
	b.want("ecosystems", r.Snapshot.Ecosystems, []string{"PyPI", "npm"})
	b.want("advisories", r.Snapshot.Advisories, 3)
	first := r.Snapshot

	r = b.load()
	b.want("second load", summary(r), []string{
		"osv/PyPI: 2 records, 0 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped, unchanged",
		"osv/npm: 1 records, 0 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped, unchanged",
	})
	if r.Changed || r.Snapshot.Seq != 1 {
		t.Errorf("a load of the same made snapshot %d, changed %v", r.Snapshot.Seq, r.Changed)
	}
	if s := b.state("osv/npm"); !s.CheckedAt.Equal(b.now) || !s.LoadedAt.Equal(b.now.Add(-time.Hour)) {
		t.Errorf("checked at %v, loaded at %v, now %v", s.CheckedAt, s.LoadedAt, b.now)
	}

	b.source.AcceptLoss = true
	files["A-2.json"] = record("A-2", "2.1")
	files["A-3.json"] = record("A-3", "1.0")
	delete(files, "A-1.json")
	b.put("PyPI", files)
	r = b.load()
	b.want("third load", summary(r), []string{
		"osv/PyPI: 2 records, 1 new, 1 changed, 0 withdrawn, 1 gone, 0 skipped",
		"osv/npm: 1 records, 0 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped, unchanged",
	})
	b.want("rows", b.rows(), []string{"osv/PyPI/A-2 from 2 known 05:00", "osv/PyPI/A-3 from 2 known 07:00", "osv/npm/N-1 from 1 known 05:00"})

	files["A-2.json"], files["A-1.json"] = record("A-2", "2.0"), record("A-1", "2.0")
	delete(files, "A-3.json")
	b.put("PyPI", files)
	r = b.load()
	b.want("rows after going back", b.rows(), []string{"osv/PyPI/A-1 from 3 known 05:00", "osv/PyPI/A-2 from 3 known 05:00", "osv/npm/N-1 from 1 known 05:00"})
	if r.Snapshot.Digest != first.Digest {
		t.Error("the same records have another snapshot digest")
	}
}

func TestDigestIsIndependentOfOrder(t *testing.T) {
	files := records(40)
	var digests []string
	for _, level := range []bool{false, true} {
		b := newBench(t)
		if level { // the records come in two loads, and in another order
			half := map[string]string{}
			for i, name := range slices.Sorted(maps.Keys(files)) {
				if i%2 == 1 {
					half[name] = files[name]
				}
			}
			b.put("PyPI", half)
			b.load()
		}
		b.put("PyPI", files)
		b.put("npm", files)
		digests = append(digests, b.load().Snapshot.Digest.String())
	}
	if digests[0] != digests[1] {
		t.Errorf("digests differ: %v", digests)
	}
}

func TestWithdrawn(t *testing.T) {
	b := newBench(t)
	files := records(30)
	b.put("PyPI", files)
	b.load()
	files["P-007.json"] = record("P-007", "2.0", withdrawn)
	b.put("PyPI", files)
	r := b.load()
	b.want("load", summary(r), []string{"osv/PyPI: 30 records, 0 new, 0 changed, 1 withdrawn, 0 gone, 0 skipped"})
	b.want("row", b.rows()[7], "osv/PyPI/P-007 from 2 known 05:00 withdrawn")
}

func TestUnreadableRecords(t *testing.T) {
	b := newBench(t)
	files := records(60)
	b.put("PyPI", files)
	b.load()
	files["P-001.json"] = `{"id":"P-001","affected":[{`
	files["P-002.json"] = record("P-999", "3")
	files["P-003.json"] = strings.Repeat("[", 100)
	files["new.json"] = `{"id":"new","affected":[{"package":{"ecosystem":"PyPI","name":"x"},"ranges":[{"type":"SPHERICAL"}]}]}`
	files["P-004.json"] = record("P-004", "3.0")
	b.put("PyPI", files)
	r := b.load()
	b.want("load", summary(r), []string{"osv/PyPI: 60 records, 0 new, 1 changed, 0 withdrawn, 0 gone, 4 skipped"})
	b.want("rows", b.rows()[:5], []string{
		"osv/PyPI/P-000 from 1 known 05:00", "osv/PyPI/P-001 from 1 known 05:00", "osv/PyPI/P-002 from 1 known 05:00",
		"osv/PyPI/P-003 from 1 known 05:00", "osv/PyPI/P-004 from 2 known 05:00",
	})
	b.want("reasons", b.state("osv/PyPI").Reasons, []string{
		"P-001: reading record: unexpected end of JSON input",
		`P-002: the record calls itself "P-999"`,
		"P-003: record is nested deeper than 64",
		`new: affected[0] of new: ranges[0] of "x": type "SPHERICAL" is not known`,
	})
}

func TestFeedThatLostATenthIsHeld(t *testing.T) {
	tests := []struct {
		name string
		edit func(files map[string]string)
		held string // part of the problem, "" when the feed is taken
	}{
		{"two of thirty gone", func(f map[string]string) { delete(f, "P-001.json"); delete(f, "P-002.json") }, ""},
		{"three of thirty gone", func(f map[string]string) {
			delete(f, "P-001.json")
			delete(f, "P-002.json")
			delete(f, "P-003.json")
		}, "of 30 records in force since 2026-11-22T05:00:00Z, 3 are gone, 0 cannot be read and 0 are withdrawn at once"},
		{"gone, spoiled and withdrawn", func(f map[string]string) {
			delete(f, "P-001.json")
			f["P-002.json"] = "{"
			f["P-003.json"] = record("P-003", "2.0", withdrawn)
		}, "1 are gone, 1 cannot be read and 1 are withdrawn at once"},
		{"replaced by others", func(f map[string]string) {
			for i := range 5 {
				delete(f, fmt.Sprintf("P-%03d.json", i))
				f[fmt.Sprintf("Q-%03d.json", i)] = record(fmt.Sprintf("Q-%03d", i), "1")
			}
		}, "5 are gone"},
		{"empty", func(f map[string]string) { clear(f) }, "30 are gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			files := records(30)
			b.put("PyPI", files)
			b.put("npm", records(3))
			b.load()
			before := b.rows()
			tt.edit(files)
			b.put("PyPI", files)
			b.put("npm", records(4))
			r := b.load()
			state := b.state("osv/PyPI")
			if tt.held == "" {
				if err := r.Err(); err != nil || state.Held {
					t.Fatalf("the feed was held: %v", err)
				}
				return
			}
			if !errors.Is(r.Err(), ErrHeld) || !state.Held || !strings.Contains(state.Problem, tt.held) {
				t.Errorf("held %v, problem %q, want %q; error %v", state.Held, state.Problem, tt.held, r.Err())
			}
			b.want("rows of the held feed", b.rows()[:30], before[:30])
			b.want("rows of the other feed", len(b.rows()), 34)

			b.source.AcceptLoss = true
			if err := b.loadErr(); err != nil {
				t.Fatalf("the loss was not accepted: %v", err)
			}
			if state := b.state("osv/PyPI"); state.Held || state.Problem != "" {
				t.Errorf("the feed is still held: %q", state.Problem)
			}
		})
	}
}

func (b *bench) loadErr() error {
	b.Helper()
	r := b.load()
	return r.Err()
}

func TestDamagedArchives(t *testing.T) {
	files := records(300)
	good := zipped(t, files)
	flipped := bytes.Clone(good)
	flipped[len(flipped)/3] ^= 0xff
	tests := []struct {
		name string
		raw  []byte
		want string
	}{
		{"empty", nil, "cut short or no zip file"},
		{"half", good[:len(good)/2], "cut short or no zip file"},
		{"no zip", []byte("<html>sorry</html>"), "cut short or no zip file"},
		{"beginning cut off", good[1000:], "the archive"},
		{"flipped bit", flipped, "in the archive"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.put("PyPI", files)
			b.load()
			before := b.rows()
			b.putRaw("PyPI", tt.raw)
			b.put("npm", records(1))
			r := b.load()
			if err := r.Feeds[0].Err; err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if s := b.state("osv/PyPI"); s.Held || s.Problem == "" || s.Records != 300 {
				t.Errorf("state %+v", s)
			}
			b.want("rows", b.rows(), append(before, "osv/npm/P-000 from 2 known 06:00"))
		})
	}
}

func TestBombs(t *testing.T) {
	t.Run("much of nothing", func(t *testing.T) {
		b := newBench(t)
		b.opts.Limits = Limits{Ratio: 100}
		b.loader = NewLoader(b.opts)
		files := records(5)
		for i := range 10 {
			files[fmt.Sprint("zeros-", i, ".json")] = strings.Repeat(" ", 4<<20)
		}
		b.put("PyPI", files)
		if err := b.loadErr(); err == nil || !strings.Contains(err.Error(), "more than 100 times as much") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a record that is too large", func(t *testing.T) {
		b := newBench(t)
		files := records(5)
		files["huge.json"] = strings.Repeat(" ", vuln.MaxRaw+1)
		b.put("PyPI", files)
		b.want("load", summary(b.load()), []string{"osv/PyPI: 5 records, 5 new, 0 changed, 0 withdrawn, 0 gone, 1 skipped"})
		b.want("reason", b.state("osv/PyPI").Reasons, []string{"huge: larger than 8 MiB"})
	})
	t.Run("a long table of contents", func(t *testing.T) {
		b := newBench(t)
		b.opts.Limits = Limits{Directory: 1 << 10}
		b.loader = NewLoader(b.opts)
		b.put("PyPI", records(50))
		if err := b.loadErr(); err == nil || !strings.Contains(err.Error(), "table of contents takes") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("too many records", func(t *testing.T) {
		b := newBench(t)
		b.opts.Limits = Limits{Records: 49}
		b.loader = NewLoader(b.opts)
		b.put("PyPI", records(50))
		if err := b.loadErr(); err == nil || !strings.Contains(err.Error(), "more than 49 records") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("names that lead elsewhere", func(t *testing.T) {
		b := newBench(t)
		files := records(2)
		files["../../etc/evil.json"] = record("evil", "1")
		files["deep/A-1.json"] = record("A-1", "1")
		b.put("PyPI", files)
		b.want("load", summary(b.load()), []string{"osv/PyPI: 2 records, 2 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped"})
	})
}

func TestFutureTimes(t *testing.T) {
	b := newBench(t)
	files := records(30)
	files["P-000.json"] = strings.Replace(files["P-000.json"], "2026-01-01", "2031-01-01", 1)
	b.put("PyPI", files)
	b.load()
	files["P-001.json"] = record("P-001", "9")
	files["P-000.json"] = record("P-000", "9")
	b.put("PyPI", files)
	b.now = b.now.AddDate(-2, 0, 0) // our own clock jumps as well
	b.want("load", summary(b.load()), []string{"osv/PyPI: 30 records, 0 new, 2 changed, 0 withdrawn, 0 gone, 0 skipped"})
}

func TestCarriedSince(t *testing.T) {
	b := newBench(t)
	files := records(30)
	b.put("PyPI", files)
	b.load()
	files["P-001.json"] = record("P-001", "2.5")
	files["P-002.json"] = record("P-002", "2.0", `,"summary":"said more clearly"`)
	b.put("PyPI", files)
	b.load()
	for id, want := range map[string]time.Time{"P-000": {}, "P-001": b.now, "P-002": {}} {
		rows, err := b.store.History(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := vuln.Unpack(rows[len(rows)-1].Packed)
		if err != nil {
			t.Fatal(err)
		}
		if got := rec.Affected[0].Since; !got.Equal(want) {
			t.Errorf("%s is said since %v, want %v", id, got, want)
		}
	}
}

func TestOlderFormatIsPackedAgain(t *testing.T) {
	b := newBench(t)
	b.put("PyPI", records(3))
	b.load()
	old, err := b.store.Begin(t.Context(), "older engine")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := b.store.History(t.Context(), "P-001")
	if err != nil {
		t.Fatal(err)
	}
	row := rows[0]
	row.From, row.To, row.Format = old.Seq, 0, vuln.PackFormat-1
	if err := b.store.Stage(t.Context(), old, vuln.Batch{Feed: row.Feed, Close: []string{row.ID}, Insert: []vuln.Row{row}}); err != nil {
		t.Fatal(err)
	}
	current, _ := b.store.Current(t.Context())
	current.Seq = old.Seq
	if err := b.commit(t.Context(), Change{Load: old, Snapshot: current}); err != nil {
		t.Fatal(err)
	}
	b.loader = NewLoader(b.opts) // a new process
	b.want("load", summary(b.load()), []string{"osv/PyPI: 3 records, 0 new, 1 changed, 0 withdrawn, 0 gone, 0 skipped"})
}

func TestChosenEcosystems(t *testing.T) {
	b := newBench(t)
	for _, eco := range []string{"PyPI", "npm", "Debian", "Debian:12", "GIT", "[EMPTY]"} {
		b.put(eco, records(1))
	}
	b.source.Ecosystems = []string{"npm", "Hex"}
	r := b.load()
	b.want("chosen", summary(r), []string{
		"osv/npm: 1 records, 1 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped",
		"osv/Hex: 0 records, 0 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped, refused",
	})
	b.source.Ecosystems = nil
	r = b.load()
	b.want("all", r.Snapshot.Ecosystems, []string{"Debian", "PyPI", "npm"})
	if err := os.RemoveAll(filepath.Join(b.root, "npm")); err != nil {
		t.Fatal(err)
	}
	r = b.load()
	if p := b.state("osv/npm").Problem; !strings.Contains(p, "no longer published") {
		t.Errorf("problem %q", p)
	}
	b.want("ecosystems afterwards", r.Snapshot.Ecosystems, []string{"Debian", "PyPI", "npm"})
}

func TestLooseFiles(t *testing.T) {
	b := newBench(t)
	for name, text := range records(20) {
		if err := os.WriteFile(filepath.Join(b.root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b.source.Name = "house"
	r := b.load()
	b.want("load", summary(r), []string{"house: 20 records, 20 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped"})
	b.want("covers", r.Snapshot.Ecosystems, []string(nil))
	b.source.Ecosystems = []string{"PyPI"}
	r = b.load()
	b.want("covers what it is told to", r.Snapshot.Ecosystems, []string{"PyPI"})
	b.want("no row changed", b.rows()[0], "house/P-000 from 1 known 05:00")
}

func TestFoldersOfRecords(t *testing.T) {
	b := newBench(t)
	b.put("npm", records(2))
	for name, text := range records(3) {
		path := filepath.Join(b.root, "PyPI", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	r := b.load()
	b.want("load", summary(r), []string{
		"osv/PyPI: 3 records, 3 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped",
		"osv/npm: 2 records, 2 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped",
	})
	b.want("covers", r.Snapshot.Ecosystems, []string{"PyPI", "npm"})
	if r = b.load(); r.Changed {
		t.Error("loading the same files again made a snapshot")
	}
}

func TestBadSources(t *testing.T) {
	b := newBench(t)
	for name, src := range map[string]Source{
		"http":       {Name: "osv", Location: "http://feeds.example/osv"},
		"ftp":        {Name: "osv", Location: "ftp://me:secret@feeds.example/osv"},
		"no folder":  {Name: "osv", Location: filepath.Join(b.root, "nowhere")},
		"empty":      {Name: "osv", Location: b.root},
		"bad name":   {Name: "o/s", Location: b.root},
		"no name":    {Location: b.root},
		"no client":  {Name: "osv", Location: "https://feeds.example"},
		"no address": {Name: "osv", Location: "https://"},
	} {
		_, err := b.loader.Load(t.Context(), src)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error tells the password: %v", name, err)
		}
	}
}

// A load that cannot be committed, or is cancelled, leaves nothing behind.
func TestNothingIsLeftBehind(t *testing.T) {
	b := newBench(t)
	b.put("PyPI", records(600))
	b.fail = errors.New("disk full")
	if _, err := b.loader.Load(t.Context(), b.source); !errors.Is(err, b.fail) {
		t.Fatalf("error %v", err)
	}
	b.fail = nil
	ctx, cancel := context.WithCancel(t.Context())
	b.opts.Progress = func(p Progress) {
		if p.Done >= 512 {
			cancel()
		}
	}
	b.loader = NewLoader(b.opts)
	if _, err := b.loader.Load(ctx, b.source); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	b.want("rows", b.rows(), []string(nil))
	b.opts.Progress = nil
	b.loader = NewLoader(b.opts)
	b.want("load", summary(b.load()), []string{"osv/PyPI: 600 records, 600 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped"})
}

// Two processes that load at once do not mix: the first is told.
func TestSuperseded(t *testing.T) {
	b := newBench(t)
	b.put("PyPI", records(600))
	b.opts.Progress = func(p Progress) {
		if p.Done == 512 {
			if _, err := b.store.Begin(t.Context(), "another process"); err != nil {
				t.Error(err)
			}
		}
	}
	b.loader = NewLoader(b.opts)
	if _, err := b.loader.Load(t.Context(), b.source); !errors.Is(err, vuln.ErrSuperseded) {
		t.Fatalf("error %v", err)
	}
	b.want("rows", b.rows(), []string(nil))
}
