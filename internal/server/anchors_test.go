package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/verify"
)

// TestShippedRoots: what the configuration may name is what comes with the
// program.
func TestShippedRoots(t *testing.T) {
	shipped := verify.Shipped()
	if len(shipped) != len(config.ShippedRoots) {
		t.Errorf("%d roots come with the program, and the configuration knows %d", len(shipped), len(config.ShippedRoots))
	}
	for _, r := range shipped {
		if len(r.Document) == 0 || !slices.Contains(config.ShippedRoots[r.Name], string(r.Kind)) {
			t.Errorf("root %s of type %s has %d bytes, and goes with %v", r.Name, r.Kind, len(r.Document), config.ShippedRoots[r.Name])
		}
	}
}

// TestAnchorsOfTheProgram: anchors by one word, of when they are, and what says
// that they have become old.
func TestAnchorsOfTheProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "root.json")
	r, _ := verify.FindShipped("public-good")
	if err := os.WriteFile(file, r.Document, 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	c := &config.Config{Anchors: []config.Anchor{
		{Name: "public", Type: "sigstore", TrustedRoot: "public-good"},
		{Name: "github", Type: "github", TrustedRoot: "github"},
		{Name: "filed", Type: "sigstore", TrustedRootFile: config.Path(file)},
	}}
	a, err := newAnchors(c, func() []byte { return nil }, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"bonded": "this server", "public": "the program (public-good)", "github": "the program (github)", "filed": file}
	for _, st := range a.states() {
		if st.From != want[st.Name] || (st.AsOf == nil) != (st.Name == "bonded") || (st.Problem == "") != (st.Name != "bonded") {
			t.Errorf("an anchor is %+v", st)
		}
		delete(want, st.Name)
	}
	if len(want) > 0 {
		t.Errorf("not told: %v", want)
	}
	notes := map[string]string{}
	if a.notes(notes); len(notes) > 0 {
		t.Errorf("of fresh roots: %v", notes)
	}
	now = now.AddDate(0, 5, 0)
	if a.notes(notes); len(notes) != 1 || !strings.Contains(notes["anchor public"], "bonded trust refresh") {
		t.Errorf("of old ones: %v", notes)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := a.reload(); err != nil || !strings.Contains(a.problem(), "filed cannot be asked") {
		t.Errorf("without its file: %v, %q", err, a.problem())
	}
}
