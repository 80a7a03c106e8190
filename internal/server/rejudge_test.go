package server

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/testparts"
)

// eachAdvised is eachWorld where advisories are about Debian 12 and Python, and
// about 20 packages that nobody has.
func eachAdvised(t *testing.T, fn func(w *world)) {
	feeds := func(o *Options) { o.Config.Feeds[0].Ecosystems = []string{"Debian", "PyPI"} }
	start := func(t *testing.T, change ...func(*Options)) *world {
		w := newWorld(t, append(change, feeds)...)
		for i := range 20 {
			w.tell(fmt.Sprint("OTHER-", i), affected("Debian:12", fmt.Sprint("other-", i), ""), affected("PyPI", fmt.Sprint("other-", i), ""))
		}
		w.load()
		return w
	}
	t.Run("sqlite", func(t *testing.T) { fn(start(t)) })
	t.Run("postgres", func(t *testing.T) {
		url := testparts.Postgres(t)
		fn(start(t, func(o *Options) { o.Config.Database.Postgres = &config.Postgres{URL: url} }))
	})
}

// affected is an entry of an advisory, about all versions before fixed, or all.
func affected(ecosystem, name, fixed string) string {
	events := `{"introduced":"0"}`
	if fixed != "" {
		events += fmt.Sprintf(`,{"fixed":%q}`, fixed)
	}
	return fmt.Sprintf(`{"package":{"ecosystem":%q,"name":%q},"ranges":[{"type":"ECOSYSTEM","events":[%s]}]}`, ecosystem, name, events)
}

// tell writes an advisory, which is not loaded yet; an entry may be followed by
// other members of the advisory.
func (w *world) tell(id string, entries ...string) {
	w.Helper()
	record := fmt.Sprintf(`{"id":%q,"modified":"2026-11-01T00:00:00Z","severity":[{"type":"CVSS_V3","score":%q}],"affected":[%s]}`, id, critical, strings.Join(entries, ","))
	if err := os.WriteFile(filepath.Join(w.feed, id+".json"), []byte(record), 0o600); err != nil {
		w.Fatal(err)
	}
}

// debianLayer is a layer with packages of Debian 12, "name version source
// version" each, and of Python, "name version".
func debianLayer(t *testing.T, deb, python []string) []byte {
	files := map[string][]byte{"etc/os-release": []byte("ID=debian\nVERSION_ID=\"12\"\n")}
	status := ""
	for _, text := range deb {
		f := strings.Fields(text)
		status += fmt.Sprintf("Package: %s\nStatus: install ok installed\nVersion: %s\nSource: %s (%s)\nArchitecture: amd64\n\n", f[0], f[1], f[2], f[3])
	}
	if status != "" {
		files["var/lib/dpkg/status"] = []byte(status)
	}
	for _, text := range python {
		name, version, _ := strings.Cut(text, " ")
		files["opt/"+name+"-"+version+".dist-info/METADATA"] = []byte("Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n")
	}
	return layerOf(t, files)
}

// decided returns the outcome in force about what stands in catalog/app, and the
// snapshot of advisories that it was last confirmed under.
func (w *world) decided(d oci.Digest) (outcome api.Outcome, under int64) {
	w.Helper()
	p, err := w.db.PlacementOf(w.Context(), oci.MustRepository("catalog/app"), d)
	if err != nil {
		w.Fatal(err)
	}
	err = w.db.View(w.Context(), func(tx *db.Tx) error {
		rec, err := tx.Decision(w.Context(), p.Decision)
		if err == nil {
			outcome, under = rec.Decision.Outcome, rec.Snapshot
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return outcome, under
}

// TestAdvisoryFlips: an advisory that comes, changes and goes flips the
// decisions about the versions it is about, and nothing else is judged again.
func TestAdvisoryFlips(t *testing.T) {
	eachAdvised(t, func(w *world) {
		dev := w.enrol("ann", "developer")
		images := map[string]oci.Digest{}
		for tag, packages := range map[string][2][]string{
			"x1":   {nil, {"x 1.0"}},
			"x2":   {nil, {"x 2.0"}},
			"x1y1": {nil, {"x 1.0", "y 1.0"}},
			"y1":   {nil, {"y 1.0"}},
			"bin1": {{"libz 1:9 z 1-1"}, nil}, // its own version says nothing of the source's
			"bin2": {{"libz 1:8 z 1-2"}, nil},
		} {
			images[tag] = w.pushImage(dev, "catalog/app", tag, debianLayer(w.T, packages[0], packages[1])).Digest
			w.settled("catalog/app", images[tag], repo.Admitted)
		}
		for _, step := range []struct {
			what, id string
			entries  []string
			denied   string // after the step
			judged   string // by it
		}{
			{"of x before 2", "A-1", []string{affected("PyPI", "x", "2.0")}, " x1 x1y1", " x1 x1y1"},
			{"of versions that nobody has", "A-2", []string{affected("PyPI", "x", "0.5"), affected("Debian:12", "z", "1-0")}, " x1 x1y1", ""},
			{"of another name for it", "A-3", []string{affected("Debian:12", "x", "2.0")}, " x1 x1y1", ""},
			{"of x before 3", "A-1", []string{affected("PyPI", "x", "3.0")}, " x1 x1y1 x2", " x1 x1y1 x2"},
			{"of x before 2 again", "A-1", []string{affected("PyPI", "x", "2.0")}, " x1 x1y1", " x1 x1y1 x2"},
			{"of a source", "A-4", []string{affected("Debian:12", "z", "1-2")}, " bin1 x1 x1y1", " bin1"},
			{"of another release", "A-5", []string{affected("Debian:12", "z", "1-1")}, " bin1 x1 x1y1", ""},
			{"of y, all versions", "A-6", []string{affected("PyPI", "y", "9")}, " bin1 x1 x1y1 y1", " x1y1 y1"},
		} {
			before := w.advisories.Index().Snapshot().Seq
			w.tell(step.id, step.entries...)
			w.load()
			w.idle()
			var denied, judged string
			for _, tag := range []string{"bin1", "bin2", "x1", "x1y1", "x2", "y1"} {
				outcome, under := w.decided(images[tag])
				if outcome == api.Deny {
					denied += " " + tag
				}
				if under > before {
					judged += " " + tag
				}
			}
			if denied != step.denied || judged != step.judged {
				w.Errorf("an advisory %s: denied are%s, want%s; judged again were%s, want%s", step.what, denied, step.denied, judged, step.judged)
			}
		}
		w.clean()
	})
}

// TestRejudgedIsAllThatChanged: whatever is published, each image of which
// anything else is found than before is judged again.
func TestRejudgedIsAllThatChanged(t *testing.T) {
	eachAdvised(t, func(w *world) {
		r := rand.New(rand.NewPCG(1, 2))
		of := func(words ...string) string { return words[r.IntN(len(words))] }
		version := func() string { return of("1", "2", "3", "4-1", "5") }
		dev := w.enrol("ann", "developer")
		images := map[oci.Digest]*inventory.Image{}
		for range 25 {
			var deb, python []string
			for _, lib := range []string{"liba", "libb"} {
				if r.IntN(2) == 0 {
					deb = append(deb, lib+" "+version()+" "+of("a", "b")+" "+version())
				}
			}
			python = append(python, of("a", "b", "c")+" "+version())
			m := w.pushImage(dev, "catalog/app", "", debianLayer(w.T, deb, python))
			images[m.Digest] = nil
		}
		w.idle()
		for d := range images {
			images[d] = w.inventoryOf(d)
		}
		changed, spared := 0, 0
		for round := range 12 {
			for range 1 + r.IntN(2) {
				var entries []string
				for range 1 + r.IntN(2) {
					entries = append(entries, affected(of("Debian:12", "PyPI"), of("a", "b", "c"), of("", "1", "2", "3", "5", "9")))
				}
				last := len(entries) - 1
				switch r.IntN(4) {
				case 0:
					entries[last] += `],"aliases":["` + of("CVE-2024-1", "CVE-2024-2") + `"],"references":[`
				case 1:
					entries[last] += `],"withdrawn":"2026-01-01T00:00:00Z","references":[`
				}
				w.tell(of("A-1", "A-2", "CVE-2024-1", "PYSEC-1", "DSA-1"), entries...)
			}
			before := w.advisories.Index()
			w.load()
			w.idle()
			now := w.advisories.Index()
			for d, im := range images {
				x, gapsX := before.Findings(im)
				y, gapsY := now.Findings(im)
				differs := !reflect.DeepEqual(x, y) || !reflect.DeepEqual(gapsX, gapsY)
				_, under := w.decided(d)
				switch {
				case differs && under < now.Snapshot().Seq:
					w.Errorf("round %d: of %s was found\n%+v\nand is\n%+v\nwhich nobody judged", round, d.Short(), x, y)
				case differs:
					changed++
				case under < now.Snapshot().Seq:
					spared++
				}
			}
		}
		if changed < 30 || spared < 30 {
			w.Errorf("too little was seen: %d images changed, %d others were left alone", changed, spared)
		}
	})
}

// inventoryOf returns what is known of an image.
func (w *world) inventoryOf(d oci.Digest) *inventory.Image {
	w.Helper()
	var m *oci.Manifest
	err := w.db.View(w.Context(), func(tx *db.Tx) error {
		stored, err := tx.Stored(w.Context(), d)
		if err != nil {
			return err
		}
		m, err = oci.ParseManifest(stored.Raw, stored.MediaType, oci.SHA256)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	im, _, err := w.assess.Analyst.Image(w.Context(), m)
	if err != nil {
		w.Fatal(err)
	}
	return im
}
