package custody

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
)

// shorthand writes long texts of a file, which are signed or hashed content, as
// "#N": what is fuzzed is what surrounds them, and which of them stands where.
type shorthand struct{ long [][]byte }

var (
	longText  = regexp.MustCompile(`"[A-Za-z0-9+/=]{60,}"`)
	shortText = regexp.MustCompile(`"#([0-9]{1,3})"`)
)

func (s *shorthand) shorten(raw []byte) []byte {
	return longText.ReplaceAllFunc(raw, func(text []byte) []byte {
		s.long = append(s.long, bytes.Clone(text))
		return fmt.Appendf(nil, `"#%d"`, len(s.long)-1)
	})
}

func (s *shorthand) expand(short []byte) []byte {
	return shortText.ReplaceAllFunc(short, func(text []byte) []byte {
		if n, err := strconv.Atoi(string(text[2 : len(text)-1])); err == nil && n < len(s.long) {
			return s.long[n]
		}
		return text
	})
}

// remembering is what files are verified by, that looks at the same bundle once.
func remembering(t testing.TB, root []byte) *given {
	t.Helper()
	g, err := prepare(VerifyOptions{Root: root, Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	set, err := verify.NewAnchors(verify.Anchor{Name: OwnAnchor, Kind: verify.KindSigstore, Roots: [][]byte{root}})
	if err != nil {
		t.Fatal(err)
	}
	g.check = verify.New(verify.Options{Anchors: set, Statements: attest.NewReader(nil, 0), Clock: g.Clock, Log: g.Log})
	type opened struct {
		p   *proven
		err error
	}
	open, seen := g.open, map[[sha256.Size]byte]opened{}
	g.open = func(b *api.CustodyBatch) (*proven, error) {
		key := sha256.Sum256(fmt.Appendf(nil, "%d %s", b.Number, b.Bundle))
		o, ok := seen[key]
		if !ok {
			o.p, o.err = open(b)
			seen[key] = o
		}
		return o.p, o.err
	}
	return g
}

// FuzzVerify: no file panics, and none in which something is not proven verifies.
func FuzzVerify(f *testing.F) {
	raw, err := os.ReadFile(filepath.Join("testdata", "v1", example))
	if err != nil {
		f.Fatal(err)
	}
	root, err := os.ReadFile(filepath.Join("testdata", "v1", "trusted_root.json"))
	if err != nil {
		f.Fatal(err)
	}
	var s shorthand
	short := s.shorten(raw)
	if !bytes.Equal(s.expand(short), raw) || len(short) > len(raw)/3 {
		f.Fatalf("of %d bytes %d are left", len(raw), len(short))
	}
	g := remembering(f, root)
	f.Add(short)
	f.Add([]byte(`{"version":"https://bonded.dev/custody/v1","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}`))
	f.Fuzz(func(t *testing.T, short []byte) {
		raw := s.expand(short)
		c, err := g.verify(t.Context(), raw)
		if err != nil {
			if !errors.Is(err, ErrFile) && !errors.Is(err, ErrLarge) {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		if c.State != api.CustodyVerified {
			return
		}
		file, err := Parse(raw)
		if err != nil || oci.FromBytes(file.Subject.Manifest.Bytes).String() != c.Digest || len(file.Batches) == 0 {
			t.Errorf("what is verified is not there: %v", err)
		}
	})
}
