// Package analyzetest is the suite that admits an extractor.
package analyzetest

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// Case is a file and what it yields.
type Case struct {
	Name    string // of the case; Path if empty
	Path    string
	Mode    fs.FileMode // 0o644 if 0
	Content []byte
	Want    []inventory.Package // in any order
}

// Suite says what an extractor promises.
type Suite struct {
	// New returns the extractor.
	New func() analyze.Extractor
	// Good files are read without a gap. At least one.
	Good []Case
	// Damaged files are gaps; what they yield nevertheless is Want.
	Damaged []Case
	// Unwanted paths look alike and are not its business. At least one.
	Unwanted []string
}

// Run admits the extractor or says why not: what it says about itself is
// usable, good files give what they should and damaged ones a gap, through an
// Analyzer and a real layer; it does the same each time and from many
// goroutines; and cut or spoiled content never makes it panic or hang.
func Run(t *testing.T, s Suite) {
	t.Helper()
	if len(s.Good) == 0 || len(s.Unwanted) == 0 {
		t.Fatal("analyzetest: a suite needs good files and unwanted paths")
	}
	t.Run("info", func(t *testing.T) { checkInfo(t, s.New()) })
	t.Run("unwanted", func(t *testing.T) {
		for _, path := range s.Unwanted {
			if s.New().Wants(path, 0o644) {
				t.Errorf("wants %q", path)
			}
		}
	})
	for _, c := range s.Good {
		t.Run("good/"+c.name(), func(t *testing.T) { checkCase(t, s.New(), c, false) })
	}
	for _, c := range s.Damaged {
		t.Run("damaged/"+c.name(), func(t *testing.T) { checkCase(t, s.New(), c, true) })
	}
	t.Run("parallel", func(t *testing.T) { checkParallel(t, s.New(), s.Good) })
	t.Run("spoiled", func(t *testing.T) {
		for i, c := range s.Good {
			checkSpoiled(t, s.New(), c, uint64(i))
		}
	})
}

func (c Case) name() string {
	if c.Name != "" {
		return c.Name
	}
	return c.Path
}

func (c Case) mode() fs.FileMode {
	if c.Mode != 0 {
		return c.Mode
	}
	return 0o644
}

var (
	nameForm    = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	versionForm = regexp.MustCompile(`^[0-9]+[^ /]*$`)
)

func checkInfo(t *testing.T, x analyze.Extractor) {
	info := x.Info()
	if !nameForm.MatchString(info.Name) || !versionForm.MatchString(info.Version) {
		t.Errorf("name %q, version %q: want lower case with hyphens, and a number", info.Name, info.Version)
	}
	if info.Max <= 0 {
		t.Error("no limit for the size of a file")
	}
	for _, m := range info.Magic {
		if len(m) == 0 || len(m) > 8 {
			t.Errorf("magic %q: want 1 to 8 bytes", m)
		}
	}
	for _, p := range append(info.Places, "") {
		if strings.HasPrefix(p, "/") || strings.Contains(p, "//") {
			t.Errorf("place %q is not clean and relative", p)
		}
	}
}

// Layer returns a tar stream of files.
func Layer(t testing.TB, files ...Case) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, c := range files {
		h := &tar.Header{Name: c.Path, Mode: int64(c.mode()), Typeflag: tar.TypeReg, Size: int64(len(c.Content))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(c.Content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Analyzer returns an Analyzer with the given extractors only.
func Analyzer(t testing.TB, x ...analyze.Extractor) *analyze.Analyzer {
	t.Helper()
	return analyze.New(analyze.Options{Extractors: x, TempDir: t.TempDir(), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
}

func checkCase(t *testing.T, x analyze.Extractor, c Case, damaged bool) {
	if !x.Wants(c.Path, c.mode()) {
		t.Fatalf("does not want %q", c.Path)
	}
	res, err := Analyzer(t, x).Layer(context.Background(), bytes.NewReader(Layer(t, c)))
	if err != nil {
		t.Fatal(err)
	}
	var got []inventory.Package
	for _, s := range res.Sets {
		got = append(got, s.Packages...)
	}
	if diff := cmp.Diff(sorted(c.Want), got); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	switch gaps := res.Layer.Coverage.Gaps; {
	case !damaged && len(gaps) > 0:
		t.Errorf("got gaps %+v", gaps)
	case damaged && (len(gaps) != 1 || gaps[0].Extractor != x.Info().Name || gaps[0].Path != c.Path || gaps[0].Reason == ""):
		t.Errorf("got gaps %+v, want one of %s at %s", gaps, x.Info().Name, c.Path)
	}
}

// sorted orders packages as a set has them.
func sorted(p []inventory.Package) []inventory.Package {
	p = slices.Clone(p)
	slices.SortFunc(p, func(a, b inventory.Package) int {
		key := func(p inventory.Package) string {
			return strings.Join([]string{p.Type, p.Namespace, p.Name, p.Version, p.Arch, p.Source, p.SourceVer}, "\x00")
		}
		return strings.Compare(key(a), key(b))
	})
	return p
}

func extract(x analyze.Extractor, c Case, content []byte) (string, error) {
	found, err := x.Extract(context.Background(), analyze.NewFile(c.Path, c.mode(), content))
	return fmt.Sprint(sorted(found)), err
}

func checkParallel(t *testing.T, x analyze.Extractor, cases []Case) {
	var wg sync.WaitGroup
	for _, c := range cases {
		first, err := extract(x, c, c.Content)
		for range 4 {
			wg.Go(func() {
				if again, err2 := extract(x, c, c.Content); again != first || (err == nil) != (err2 == nil) {
					t.Errorf("%s: once %s, %v, then %s, %v", c.name(), first, err, again, err2)
				}
			})
		}
	}
	wg.Wait()
}

// checkSpoiled lets the extractor look at what was cut and what was changed. It
// need not notice, but it must come back.
func checkSpoiled(t *testing.T, x analyze.Extractor, c Case, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	rounds := 60
	if len(c.Content) > 1<<20 {
		rounds = 4
	}
	for range rounds {
		b := bytes.Clone(c.Content[:r.IntN(len(c.Content)+1)])
		_, _ = extract(x, c, b) // any error will do; a panic will not
		b = bytes.Clone(c.Content)
		for range 1 + r.IntN(4) {
			if len(b) > 0 {
				b[r.IntN(len(b))] = byte(r.IntN(256))
			}
		}
		_, _ = extract(x, c, b) // any error will do; a panic will not
	}
}
