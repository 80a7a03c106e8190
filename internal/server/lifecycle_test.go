package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/repo"
)

// TestEndsFlip: what is said of when a release ends is followed by the decisions of a
// gate that asks.
func TestEndsFlip(t *testing.T) {
	ends, gate := t.TempDir(), filepath.Join(t.TempDir(), "catalog.yaml")
	tell := func(day string) {
		t.Helper()
		err := errors.Join(os.WriteFile(filepath.Join(ends, "all.json"), []byte(`["debian"]`), 0o600),
			os.WriteFile(filepath.Join(ends, "debian.json"), fmt.Appendf(nil, `[{"cycle":"12","eol":%q},{"cycle":"13","eol":false}]`, day), 0o600))
		if err != nil {
			t.Fatal(err)
		}
	}
	text := "apiVersion: bonded.dev/v1\nkind: Gate\nname: catalog\naccepts: [image]\nenter:\n  - rule: maintained\n    lifecycle: {for: 24h}\n"
	if err := os.WriteFile(gate, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) {
		never := config.Duration(0)
		o.Config.Feeds = append(o.Config.Feeds, config.Feed{Name: "ends", Format: "endoflife", Dir: config.Path(ends), Interval: &never})
		o.Config.Gates = map[string]config.Path{"catalog": config.Path(gate)}
	})
	w.tell("GO-1", affected("Go", "x", ""))
	dev := w.enrol("ann", "developer")
	image := w.pushImage(dev, "catalog/app", "1", debianLayer(t, nil, []string{"a 1.0"}))
	w.settled("catalog/app", image.Digest, repo.Held) // nothing was loaded
	tell("2024-01-01")
	w.load()
	w.settled("catalog/app", image.Digest, repo.Denied)
	tell("2124-01-01")
	w.load()
	w.settled("catalog/app", image.Digest, repo.Admitted)
	w.clean()
}
