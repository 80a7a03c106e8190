package tlog_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// copied is a log as files.
type copied map[string][]byte

func (c copied) source() tlog.Source {
	fs := fstest.MapFS{}
	for name, b := range c {
		fs[name] = &fstest.MapFile{Data: b}
	}
	return &tlog.FolderSource{FS: fs}
}

// build makes a log of entries, as files, with what was seen at some sizes.
func build(t testing.TB, entries []tlog.Entry, sizes ...int64) (copied, map[int64]tlog.Checkpoint) {
	t.Helper()
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	if err := tlog.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	l := must[*tlog.Log](t)(tlog.Open(t.Context(), o))
	seen := map[int64]tlog.Checkpoint{}
	at := int64(0)
	for _, size := range append(sizes, int64(len(entries))) {
		signed := must[[]byte](t)(l.Append(t.Context(), entries[at:size], o.Store.Append))
		seen[size] = must[tlog.Checkpoint](t)(tlog.OpenCheckpoint(signed, tlogtest.Origin, tlogtest.Verifier(t)))
		at = size
	}
	files := copied{}
	err := tlog.Copy(t.Context(), l, tlog.PlainEntries, func(path string, b []byte) error {
		files[path] = bytes.Clone(b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, seen
}

func verify(t testing.TB, src tlog.Source, known ...tlog.Checkpoint) tlog.Report {
	t.Helper()
	o := tlog.VerifyOptions{Source: src, Origin: tlogtest.Origin, Verifier: tlogtest.Verifier(t)}
	for _, c := range known {
		o.Known = append(o.Known, tlog.Known{From: fmt.Sprintf("who saw %d", c.Size), Checkpoint: c})
	}
	return must[tlog.Report](t)(tlog.Verify(t.Context(), o))
}

func TestVerify(t *testing.T) {
	for _, size := range []int{0, 1, 2, 255, 256, 257, 511, 512, 1000, 65_535, 65_536, 65_537, 66_000} {
		var sizes []int64
		for s := int64(1); s < int64(size); s = s*3 + 1 {
			sizes = append(sizes, s)
		}
		files, seen := build(t, tlogtest.Entries(0, size), sizes...)
		known := []tlog.Checkpoint{{Origin: tlogtest.Origin, Root: tlog.EmptyRoot()}}
		for _, c := range seen {
			known = append(known, c)
		}
		r := verify(t, files.source(), known...)
		if r.Bad != nil || r.Entries != int64(size) || r.Checkpoint.Size != int64(size) {
			t.Errorf("%d entries: %+v, bad %v", size, r, r.Bad)
		}
	}
}

// TestTampered is what can be done to a log by who has its files, and its key.
func TestTampered(t *testing.T) {
	const n = 66_000
	entries := tlogtest.Entries(0, n)
	good, seen := build(t, entries, 700, 40_000)
	signer := tlogtest.Options(t, nil, nil).Signer
	remade := func(change func(entries []tlog.Entry) []tlog.Entry) copied {
		changed, _ := build(t, change(append([]tlog.Entry(nil), entries...)))
		return changed
	}
	edited := remade(func(es []tlog.Entry) []tlog.Entry { es[50_000] = tlogtest.Entry("edited"); return es })
	root := strings.Split(string(good["checkpoint"]), "\n")[2]
	flip := func(path string, at int) func(copied) {
		return func(c copied) { c[path] = bytes.Clone(c[path]); c[path][at] ^= 1 }
	}
	take := func(from copied, paths ...string) func(copied) {
		return func(c copied) {
			for _, p := range paths {
				if c[p] = from[p]; c[p] == nil {
					panic(p)
				}
			}
		}
	}
	for _, test := range []struct {
		name   string
		change func(c copied)
		kind   string
		where  string // index or path
		says   string
	}{
		{"a byte of an entry", flip("tile/entries/010", 5), tlog.BadEntry, "2560", "was changed"},
		{"a byte of the last entry", flip("tile/entries/257.p/208", 208*78-1), tlog.BadEntry, "65999", "was changed"},
		{"a length", flip("tile/entries/010", 0), tlog.BadEntry, "2560", ""},
		{"an entry of the same length", func(c copied) {
			c["tile/entries/003"] = bytes.Replace(c["tile/entries/003"], []byte("entry 800 "), []byte("entry 801 "), 1)
		}, tlog.BadEntry, "800", "was changed"},
		{"a bundle cut", func(c copied) { c["tile/entries/010"] = c["tile/entries/010"][:10_000] }, tlog.BadEntry, "2689", "cut off"},
		{"a bundle with more", func(c copied) { c["tile/entries/010"] = append(bytes.Clone(c["tile/entries/010"]), 0, 1, 2) }, tlog.BadEntry, "", "after the 256"},
		{"two bundles swapped", func(c copied) {
			c["tile/entries/010"], c["tile/entries/011"] = c["tile/entries/011"], c["tile/entries/010"]
		}, tlog.BadEntry, "2560", "was changed"},
		{"no bundle", func(c copied) { delete(c, "tile/entries/010") }, tlog.BadTile, "tile/entries/010", "not in the log"},
		{"no tile", func(c copied) { delete(c, "tile/0/010") }, tlog.BadTile, "tile/0/010", "not in the log"},
		{"no tile above", func(c copied) { delete(c, "tile/1/000") }, tlog.BadTile, "tile/1/000", "not in the log"},
		{"a byte of a tile", flip("tile/0/010", 32*7), tlog.BadTile, "tile/0/010", "entry 2567 is rightly"},
		{"a byte of the last tile", flip("tile/0/257.p/208", 0), tlog.BadTile, "tile/0/257.p/208", "is rightly"},
		{"a byte of a tile above", flip("tile/1/000", 32*9), tlog.BadTile, "tile/1/000", "hash 9"},
		{"a byte of a partial tile above", flip("tile/1/001.p/1", 0), tlog.BadTile, "tile/1/001.p/1", "hash 0"},
		{"a byte of the top", flip("tile/2/000.p/1", 1), tlog.BadTile, "tile/2/000.p/1", "hash 0"},
		{"a tile cut", func(c copied) { c["tile/0/010"] = c["tile/0/010"][:100] }, tlog.BadTile, "tile/0/010", "100 bytes"},
		{"an entry and its tile", take(edited, "tile/entries/195", "tile/0/195"), tlog.BadTile, "tile/1/000", "hash 195"},
		{"an entry and all tiles", take(edited, "tile/entries/195", "tile/0/195", "tile/1/000", "tile/2/000.p/1"), tlog.BadRoot, "", "from 40000 on"},
		{"an entry, tiles and checkpoint", func(c copied) { maps.Copy(c, edited) }, tlog.BadRoot, "", ""},
		{"an old entry, tiles and checkpoint", func(c copied) {
			clear(c)
			maps.Copy(c, remade(func(es []tlog.Entry) []tlog.Entry { es[20_000] = tlogtest.Entry("edited"); return es }))
		}, tlog.BadHistory, "", "among 700 to 39999"},
		{"an entry dropped", func(c copied) {
			clear(c)
			maps.Copy(c, remade(func(es []tlog.Entry) []tlog.Entry { return append(es[:100], es[101:]...) }))
		}, tlog.BadHistory, "", "among 0 to 699"},
		{"two entries swapped", func(c copied) {
			clear(c)
			maps.Copy(c, remade(func(es []tlog.Entry) []tlog.Entry { es[1], es[2] = es[2], es[1]; return es }))
		}, tlog.BadHistory, "", "among 0 to 699"},
		{"one put in", func(c copied) {
			clear(c)
			maps.Copy(c, remade(func(es []tlog.Entry) []tlog.Entry {
				return append(es[:900:900], append(tlogtest.Entries(-1, 1), es[900:]...)...)
			}))
		}, tlog.BadHistory, "", "among 700 to 39999"},
		{"cut", func(c copied) {
			clear(c)
			maps.Copy(c, remade(func(es []tlog.Entry) []tlog.Entry { return es[:39_000] }))
		}, tlog.BadHistory, "", "shows 39000"},
		{"a root", func(c copied) {
			c["checkpoint"] = bytes.Replace(c["checkpoint"], []byte(root), []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), 1)
		}, tlog.BadCheckpoint, "", "is wrong"},
		{"a size", func(c copied) {
			c["checkpoint"] = bytes.Replace(c["checkpoint"], []byte("66000"), []byte("65999"), 1)
		}, tlog.BadCheckpoint, "", "is wrong"},
		{"another key", func(c copied) {
			c["checkpoint"] = sign(t, seen[n].Text(), must[note.Signer](t)(tlog.NewEd25519Signer(tlogtest.Origin, tlogtest.Key("x"))))
		}, tlog.BadCheckpoint, "", "not signed"},
		{"another origin", func(c copied) {
			o := seen[n]
			o.Origin = "other.example"
			c["checkpoint"] = sign(t, o.Text(), signer)
		}, tlog.BadCheckpoint, "", "other.example"},
		{"a checkpoint without a log", func(c copied) {
			o := seen[n]
			o.Size = 1 << 40
			c["checkpoint"] = sign(t, o.Text(), signer)
		}, tlog.BadTile, "tile/0/257", "not in the log"},
		{"no checkpoint", func(c copied) { c["checkpoint"] = nil }, tlog.BadCheckpoint, "", "malformed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := maps.Clone(good)
			test.change(c)
			known := []tlog.Checkpoint{seen[40_000], seen[700]}
			if test.name == "an entry, tiles and checkpoint" {
				known = append(known, seen[n])
				test.kind, test.says = tlog.BadHistory, "who saw 66000"
			}
			expectBad(t, verify(t, c.source(), known...), test.kind, test.where, test.says)
		})
	}
}

func expectBad(t *testing.T, r tlog.Report, kind, at, says string) {
	t.Helper()
	if r.Bad == nil {
		t.Fatalf("nothing is found: %+v", r)
	}
	where := r.Bad.Tile
	if r.Bad.Kind == tlog.BadEntry {
		where = fmt.Sprint(r.Bad.Index)
	}
	if r.Bad.Kind != kind || at != "" && where != at || !strings.Contains(r.Bad.Reason, says) {
		t.Errorf("found %s %s: %s; want %s %s: %s", r.Bad.Kind, where, r.Bad.Reason, kind, at, says)
	}
	if len(r.Bad.Reason) > 600 {
		t.Errorf("it takes %d bytes to say so", len(r.Bad.Reason))
	}
}

func TestVerifyAsks(t *testing.T) {
	files, _ := build(t, tlogtest.Entries(0, 600))
	o := tlog.VerifyOptions{Source: files.source(), Origin: tlogtest.Origin, Verifier: tlogtest.Verifier(t)}
	next := int64(0)
	o.Entry = func(index int64, data []byte) error {
		if index != next || !strings.HasPrefix(string(data), fmt.Sprint("entry ", index, " ")) {
			t.Fatalf("entry %d is %q, want number %d", index, data, next)
		}
		next++
		if index == 500 {
			return fmt.Errorf("%w: not in the database", tlog.ErrNotFound)
		}
		return nil
	}
	r, err := tlog.Verify(t.Context(), o)
	if err != nil || r.Bad == nil || r.Bad.Kind != tlog.BadEntry || r.Bad.Index != 500 || !strings.Contains(r.Bad.Reason, "not in the database") {
		t.Errorf("an entry that the caller finds wrong: %+v, %v", r.Bad, err)
	}
	away := errors.New("the database is away")
	o.Entry = func(int64, []byte) error { return away }
	if _, err := tlog.Verify(t.Context(), o); !errors.Is(err, away) {
		t.Errorf("a caller that cannot tell: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Entry = func(index int64, _ []byte) error {
		cancel()
		return nil
	}
	o.Source = slow{files.source()}
	if _, err := tlog.Verify(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that goes away: %v", err)
	}
}

// slow is a source that looks at its context.
type slow struct{ tlog.Source }

func (s slow) Tile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	if t.N > 1 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Source.Tile(ctx, t)
}

func TestVerifyWitnesses(t *testing.T) {
	files, seen := build(t, tlogtest.Entries(0, 3))
	signer := tlogtest.Options(t, nil, nil).Signer
	var signers []note.Signer
	var verifiers []note.Verifier
	for i, age := range []time.Duration{0, time.Minute, 48 * time.Hour} {
		name := fmt.Sprintf("w%d.example", i)
		signers = append(signers, must[note.Signer](t)(tlog.NewCosigner(name, tlogtest.Key(name), at(noon.Add(-age)))))
		verifiers = append(verifiers, must[note.Verifier](t)(tlog.CosignatureVerifier(name, tlogtest.Key(name).Public().(ed25519.PublicKey))))
	}
	for _, test := range []struct {
		name   string
		signed []byte
		quorum int
		fresh  time.Duration
		want   string // "" when it is enough
	}{
		{"all", sign(t, seen[3].Text(), append(signers, signer)...), 3, 0, ""},
		{"two fresh", sign(t, seen[3].Text(), append(signers, signer)...), 2, time.Hour, ""},
		{"three fresh", sign(t, seen[3].Text(), append(signers, signer)...), 3, time.Hour, "2 of 3 witnesses"},
		{"one", sign(t, seen[3].Text(), signers[0], signer), 2, 0, "1 of 3 witnesses"},
		{"none", sign(t, seen[3].Text(), signer), 1, time.Hour, "0 of 3 witnesses"},
		{"of another checkpoint", append(files["checkpoint"], bytes.SplitAfter(sign(t, some.Text(), signers[0]), []byte("\n\n"))[1]...), 1, 0, "0 of 3"},
	} {
		files["checkpoint"] = test.signed
		r, err := tlog.Verify(t.Context(), tlog.VerifyOptions{
			Source: files.source(), Origin: tlogtest.Origin, Verifier: tlogtest.Verifier(t),
			Witnesses: verifiers, Quorum: test.quorum, Fresh: test.fresh, Clock: at(noon),
		})
		if err != nil || (r.Bad == nil) != (test.want == "") || r.Bad != nil && (r.Bad.Kind != tlog.BadWitness || !strings.Contains(r.Bad.Reason, test.want)) {
			t.Errorf("%s: %v, %v; want %q", test.name, r.Bad, err, test.want)
		}
	}
}

// served is a log over HTTP.
func served(t testing.TB, n int) (*tlog.Log, *tlog.HTTPSource) {
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	l := tlogtest.Begin(t, o)
	must[[]byte](t)(l.Append(t.Context(), tlogtest.Entries(0, n), o.Store.Append))
	srv := httptest.NewServer(http.StripPrefix("/some/log", tlog.NewHandler(tlog.HandlerOptions{Source: l})))
	t.Cleanup(srv.Close)
	return l, &tlog.HTTPSource{URL: srv.URL + "/some/log/", Client: srv.Client()}
}

func TestHTTP(t *testing.T) {
	l, src := served(t, 700)
	if r := verify(t, src); r.Bad != nil || r.Entries != 700 {
		t.Errorf("over HTTP: %+v", r)
	}
	// A partial tile that was asked for by an old checkpoint is still there.
	for _, tile := range []tlog.Tile{{Level: 0, N: 1, Width: 9}, {Level: tlog.Entries, N: 1, Width: 9}, {Level: 1, N: 0, Width: 1}, {Level: tlog.Entries, N: 2, Width: 188}} {
		b, err := src.Tile(t.Context(), tile)
		want := must[[]byte](t)(l.Tile(t.Context(), tile))
		if err != nil || !bytes.Equal(b, want) || len(b) == 0 {
			t.Errorf("%+v: %d bytes, %v; want %d", tile, len(b), err, len(want))
		}
	}
	for _, test := range []struct {
		method, path string
		status       int
		cache, kind  string
	}{
		{"GET", "checkpoint", 200, "no-cache", "text/plain; charset=utf-8"},
		{"HEAD", "checkpoint", 200, "no-cache", "text/plain; charset=utf-8"},
		{"GET", "tile/0/000", 200, "public, max-age=31536000, immutable", "application/octet-stream"},
		{"GET", "tile/0/002.p/188", 200, "public, max-age=31536000, immutable", "application/octet-stream"},
		{"GET", "tile/entries/001", 200, "public, max-age=31536000, immutable", "application/octet-stream"},
		{"GET", "tile/0/002.p/189", 404, "no-cache", ""},
		{"GET", "tile/0/002", 404, "no-cache", ""},
		{"GET", "tile/1/000", 404, "no-cache", ""},
		{"GET", "tile/9/000", 404, "no-cache", ""},
		{"GET", "tile/63/x999/x999/x999/x999/x999/999", 404, "no-cache", ""},
		{"GET", "tile/data/000", 404, "", ""},
		{"GET", "", 404, "", ""},
		{"POST", "checkpoint", 405, "", ""},
	} {
		req := must[*http.Request](t)(http.NewRequest(test.method, src.URL+test.path, nil))
		res := must[*http.Response](t)(http.DefaultClient.Do(req))
		res.Body.Close()
		if res.StatusCode != test.status || test.cache != "" && res.Header.Get("Cache-Control") != test.cache || test.kind != "" && res.Header.Get("Content-Type") != test.kind {
			t.Errorf("%s %s: %d %v", test.method, test.path, res.StatusCode, res.Header)
		}
	}
}

// TestClientLimits: what a server sends does not fill the memory.
func TestClientLimits(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b := make([]byte, 1<<20)
		for {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}))
	t.Cleanup(endless.Close)
	src := &tlog.HTTPSource{URL: endless.URL, Client: endless.Client()}
	if _, err := src.Checkpoint(t.Context()); !errors.Is(err, tlog.ErrMalformed) {
		t.Errorf("an endless checkpoint: %v", err)
	}
	for _, level := range []int{0, tlog.Entries} {
		if _, err := src.Tile(t.Context(), tlog.Tile{Level: level, Width: 256}); !errors.Is(err, tlog.ErrMalformed) {
			t.Errorf("an endless tile of level %d: %v", level, err)
		}
	}
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }))
	t.Cleanup(broken.Close)
	r, err := tlog.Verify(t.Context(), tlog.VerifyOptions{
		Source: &tlog.HTTPSource{URL: broken.URL, Client: broken.Client()}, Origin: tlogtest.Origin, Verifier: tlogtest.Verifier(t),
	})
	if err == nil || r.Bad != nil {
		t.Errorf("a server that fails is no log that is wrong: %v, %v", r.Bad, err)
	}
}

// TestFolder reads a copy that has the full tiles of a later time.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	later, _ := build(t, tlogtest.Entries(0, 1024))
	now, _ := build(t, tlogtest.Entries(0, 1000))
	later["checkpoint"] = now["checkpoint"]
	later["tile/1/000.p/3"] = now["tile/1/000.p/3"]
	for name, b := range later {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := verify(t, &tlog.FolderSource{FS: os.DirFS(dir)}); r.Bad != nil || r.Entries != 1000 {
		t.Errorf("a folder with later tiles: %+v, %v", r, r.Bad)
	}
}

// TestProofs holds the proofs against transparency-dev/merkle, and the tiles
// against the reader of x/mod, which verifies all it reads.
func TestProofs(t *testing.T) {
	l, src := served(t, 66_000)
	ctx := t.Context()
	c := must[tlog.Checkpoint](t)(tlog.OpenCheckpoint(must[[]byte](t)(l.Checkpoint(ctx)), tlogtest.Origin, tlogtest.Verifier(t)))
	entries := tlogtest.Entries(0, 66_000)
	tiles := sumdb.TileHashReader(sumdb.Tree{N: c.Size, Hash: c.Root}, tileReader{t, src})
	for _, index := range []int64{0, 1, 255, 256, 65_535, 65_536, 65_999} {
		p := must[[]tlog.Hash](t)(tlog.ProveInclusion(ctx, src, index, c.Size))
		leaf := entries[index].Leaf
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(c.Size), leaf[:], raw(p), c.Root[:]); err != nil {
			t.Errorf("entry %d: %v", index, err)
		}
		if err := tlog.VerifyInclusion(p, c, index, leaf); err != nil {
			t.Error(err)
		}
		if err := tlog.VerifyInclusion(p, c, index+1, leaf); !errors.Is(err, tlog.ErrProof) {
			t.Errorf("entry %d at %d: %v", index, index+1, err)
		}
		if h, err := tiles.ReadHashes([]int64{sumdb.StoredHashIndex(0, index)}); err != nil || h[0] != leaf {
			t.Errorf("entry %d as x/mod reads it: %v", index, err)
		}
	}
	for _, from := range []int64{0, 1, 255, 256, 257, 65_535, 65_536, 65_999, 66_000} {
		root := must[tlog.Hash](t)(tlog.RootAt(ctx, src, from))
		older := tlog.Checkpoint{Origin: tlogtest.Origin, Size: from, Root: root}
		p := must[[]tlog.Hash](t)(tlog.ProveConsistency(ctx, src, from, c.Size))
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(from), uint64(c.Size), raw(p), root[:], c.Root[:]); err != nil {
			t.Errorf("from %d: %v", from, err)
		}
		if err := tlog.VerifyConsistency(p, older, c); err != nil {
			t.Error(err)
		}
		older.Root[3]++
		if err := tlog.VerifyConsistency(p, older, c); !errors.Is(err, tlog.ErrProof) {
			t.Errorf("from another %d: %v", from, err)
		}
	}
	if _, err := tlog.ProveInclusion(ctx, src, 66_000, 66_000); !errors.Is(err, tlog.ErrNotFound) {
		t.Errorf("an entry that is not there: %v", err)
	}
	if _, err := tlog.ProveConsistency(ctx, src, 5, 4); !errors.Is(err, tlog.ErrNotFound) {
		t.Errorf("backwards: %v", err)
	}
}

// TestProve finds and proves entries as a person would.
func TestProve(t *testing.T) {
	l, src := served(t, 700)
	ctx := t.Context()
	c := must[tlog.Checkpoint](t)(tlog.OpenCheckpoint(must[[]byte](t)(src.Checkpoint(ctx)), tlogtest.Origin, tlogtest.Verifier(t)))
	for _, index := range []int64{0, 255, 256, 699} {
		want := tlogtest.Entries(0, 700)[index]
		e, p, err := tlog.Prove(ctx, src, tlog.PlainEntries, c, index)
		if err != nil || e.Leaf != want.Leaf || !bytes.Equal(tlogtest.Entry(string(e.Data)).Bundle, want.Bundle) || len(p) == 0 {
			t.Errorf("entry %d: %q, %v", index, e.Data, err)
		}
		if got, err := tlog.Find(ctx, src, c.Size, want.Leaf); err != nil || got != index {
			t.Errorf("entry %d is found at %d, %v", index, got, err)
		}
	}
	if _, _, err := tlog.Prove(ctx, src, tlog.PlainEntries, c, 700); !errors.Is(err, tlog.ErrNotFound) {
		t.Errorf("an entry that is not there: %v", err)
	}
	other := c
	other.Root[0]++
	if _, _, err := tlog.Prove(ctx, src, tlog.PlainEntries, other, 5); !errors.Is(err, tlog.ErrProof) {
		t.Errorf("an entry of another log: %v", err)
	}
	for _, size := range []int64{0, 700} {
		if _, err := tlog.Find(ctx, src, size, tlog.Hash{}); !errors.Is(err, tlog.ErrNotFound) {
			t.Errorf("a leaf that is not there: %v", err)
		}
	}
	if _, err := l.Find(ctx, tlogtest.Entries(5, 1)[0].Leaf); !errors.Is(err, tlog.ErrNotFound) {
		t.Errorf("in a log without an index: %v", err)
	}
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	o.Index = true
	indexed := tlogtest.Begin(t, o)
	must[[]byte](t)(indexed.Append(ctx, tlogtest.Entries(0, 9), o.Store.Append))
	if got, err := indexed.Find(ctx, tlogtest.Entries(5, 1)[0].Leaf); err != nil || got != 5 {
		t.Errorf("in a log with one: %d, %v", got, err)
	}
}

// tileReader is how x/mod asks for tiles.
type tileReader struct {
	t   *testing.T
	src tlog.Source
}

func (r tileReader) Height() int                      { return 8 }
func (r tileReader) SaveTiles([]sumdb.Tile, [][]byte) {}
func (r tileReader) ReadTiles(tiles []sumdb.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		b, err := r.src.Tile(r.t.Context(), tlog.Tile{Level: tile.L, N: tile.N, Width: tile.W})
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}
