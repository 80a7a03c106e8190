package server

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// TestFsckFinds what somebody with a shell on the machine can do to what is
// stored, and names it.
func TestFsckFinds(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	layer := layerOf(t, map[string][]byte{"etc/motd": []byte("hello")})
	image := w.pushImage(w.admin, "dev/app", "1", layer)
	w.settled("dev/app", image.Digest, repo.Admitted)
	w.clean()
	d := oci.FromBytes(layer)
	file := filepath.Join(w.dir, "content", "blobs", "sha256", d.Hex()[:2], d.Hex())
	for _, tt := range []struct {
		name  string
		harm  func() error
		check string
		says  string
	}{
		{"a byte of a blob", func() error { return alter(file, func(b []byte) []byte { b[0] ^= 1; return b }) }, "blob", "its content is"},
		{"a shorter blob", func() error { return alter(file, func(b []byte) []byte { return b[:len(b)-1] }) }, "blob", "in the content store"},
		{"a blob that is gone", func() error { return os.Remove(file) }, "blob", "not in the content store"},
	} {
		if err := os.WriteFile(file, layer, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := tt.harm(); err != nil {
			t.Fatal(err)
		}
		report, err := w.Fsck(t.Context(), true, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Problems) != 1 || report.Problems[0].Check != tt.check || report.Problems[0].Subject != d.String() || !strings.Contains(report.Problems[0].Text, tt.says) {
			t.Errorf("%s: %+v", tt.name, report.Problems)
		}
	}
	// A blob that is gone is a fault of the server's, and said so; it is no 404.
	res, body := w.request(w.admin, http.MethodGet, "/v2/dev/app/blobs/"+d.String(), nil)
	w.want(http.StatusInternalServerError, res, body)
}

// TestFsckNamesTiles: a tile of a log that was damaged is named as those who read
// the log know it.
func TestFsckNamesTiles(t *testing.T) {
	w := newWorld(t)
	store, entries := w.db.TileLog("rekor"), []tlog.Entry(nil)
	for i := range 300 {
		e, err := tlog.Plain(fmt.Appendf(nil, "entry %d", i))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	if _, err := w.trust.log("rekor").Append(t.Context(), entries, store.Append); err != nil {
		t.Fatal(err)
	}
	w.clean()
	tiles, err := store.Tiles(t.Context(), 0, 0, 1)
	if err != nil || len(tiles) != 1 {
		t.Fatalf("%v, %v", tiles, err)
	}
	file := func(d oci.Digest) string {
		return filepath.Join(w.dir, "content", "blobs", "sha256", d.Hex()[:2], d.Hex())
	}
	named := func(want string) {
		t.Helper()
		report, err := w.Fsck(t.Context(), true, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Problems) == 0 || report.Problems[0].Check != "log" || report.Problems[0].Subject != want {
			t.Errorf("%+v, want %s", report.Problems, want)
		}
	}
	origin := w.trust.instance.Origin()
	good, err := os.ReadFile(file(tiles[0].Hashes))
	if err != nil {
		t.Fatal(err)
	}
	if err := alter(file(tiles[0].Hashes), func(b []byte) []byte { b[40] ^= 1; return b }); err != nil {
		t.Fatal(err)
	}
	named(origin + "/tile/0/000")
	if err := os.WriteFile(file(tiles[0].Hashes), good, 0o600); err != nil {
		t.Fatal(err)
	}
	w.clean()
	if err := os.Remove(file(tiles[0].Entries)); err != nil {
		t.Fatal(err)
	}
	named(origin + "/tile/entries/000")
}

func alter(file string, change func([]byte) []byte) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, change(b), 0o600)
}
