package secrets

import (
	"archive/tar"
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/analyze/extractor"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/layer"
	"github.com/bonded-dev/bonded/internal/oci"
)

// entry is a file of a layer; without content of a whiteout.
type entry struct{ path, content string }

func tarOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Name: e.path, Mode: 0o755, Size: int64(len(e.content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func analyzer(t *testing.T, s analyze.Searcher, b layer.Budget) *analyze.Analyzer {
	return analyze.New(analyze.Options{
		Extractors: extractor.All(), Claimers: extractor.Claimers(), Searcher: s, Budget: b, TempDir: t.TempDir(), Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
}

func facts(t *testing.T, a *analyze.Analyzer, content []byte) inventory.Layer {
	t.Helper()
	res, err := a.Layer(t.Context(), bytes.NewReader(content))
	if err != nil || res.NotLayer {
		t.Fatalf("%+v, %v", res, err)
	}
	return res.Layer
}

// TestImage: what an upper layer removes or replaces is still in the image, what
// a Debian package brought is none of it, and what stands in the configuration is.
func TestImage(t *testing.T) {
	token := "ghp_" + random(1, 36, alnum)
	a := analyzer(t, New(), layer.Budget{})
	lowest := facts(t, a, tarOf(t,
		entry{"app/.env", "TOKEN=" + token}, entry{"app/kept", "x\n" + token}, entry{"app/run.sh", "#!/bin/sh\n# " + token + "\n"}, entry{"app/big.js", strings.Repeat("x = 1;\n", 800_000) + token},
		entry{"app/package-lock.json", `{"name":"` + token + `","lockfileVersion":3,"packages":{}}`},
		entry{"usr/lib/tool/key.pem", key(t, "rsa")}, entry{"etc/tool/key.pem", key(t, "rsa")}, entry{"opt/other.pem", key(t, "ec")},
		entry{"var/lib/dpkg/info/tool.list", "/usr/lib/tool/key.pem\n/etc/tool/key.pem\n"},
	))
	if lowest.Searched.State != inventory.CoverageFull || !strings.Contains(lowest.ExtractorSet, "secrets/1") {
		t.Errorf("%+v, %s", lowest.Searched, lowest.ExtractorSet)
	}
	upper := facts(t, a, tarOf(t, entry{"app/.wh..env", ""}, entry{"app/kept", "y\n"}))
	im := analyze.Overlay(analyze.Stack{
		Layers: []inventory.Layer{lowest, upper, {Coverage: inventory.Coverage{State: inventory.CoverageNone, Gaps: []inventory.Gap{{Reason: "it is encrypted"}}}}},
		Config: &oci.ImageConfig{Config: oci.RunConfig{Env: []string{"PATH=/bin", "DB_PASSWORD=tr0ub4dor3"}}, History: []oci.HistoryEntry{{CreatedBy: "RUN curl -u me:" + token}}}, Searcher: a.Searcher(),
	})
	at := func(rule, path string, line, layer int, removed bool) inventory.LocatedSecret {
		return inventory.LocatedSecret{Secret: inventory.Secret{Rule: rule, Path: path, Line: line}, Layer: layer, Removed: removed}
	}
	want := []inventory.LocatedSecret{
		at("environment", "config:Env", 2, -1, false), at("github-token", "config:History", 1, -1, false),
		at("github-token", "app/.env", 1, 0, true), at("github-token", "app/big.js", 800_001, 0, false), at("github-token", "app/kept", 2, 0, true),
		at("github-token", "app/package-lock.json", 1, 0, false), at("github-token", "app/run.sh", 2, 0, false),
		at("private-key", "etc/tool/key.pem", 1, 0, false), at("private-key", "opt/other.pem", 1, 0, false),
	}
	if diff := cmp.Diff(want, im.Secrets, cmpopts.IgnoreFields(inventory.Secret{}, "Fingerprint")); diff != "" {
		t.Error(diff)
	}
	if im.Layers[0].Searched.State != inventory.CoverageFull || im.Layers[2].Searched.State != inventory.CoverageNone || im.Searched() != inventory.CoverageNone {
		t.Errorf("%+v", im.Layers)
	}
	if got := im.Secrets[2].PURL(); !strings.HasPrefix(got, "pkg:generic/app/.env@") {
		t.Error(got)
	}
}

// TestNotSearched: what was not looked at is never clean.
func TestNotSearched(t *testing.T) {
	content := tarOf(t, entry{"a", "text"}, entry{"b", strings.Repeat("text ", 100_000)})
	if l := facts(t, analyzer(t, nil, layer.Budget{}), content); l.Searched.State != inventory.CoverageNone {
		t.Errorf("without a searcher: %+v", l.Searched)
	}
	cut := facts(t, analyzer(t, New(), layer.Budget{}), content[:len(content)/2])
	if cut.Searched.State == inventory.CoverageFull {
		t.Errorf("cut short: %+v", cut.Searched)
	}
	for name, s := range map[string]analyze.Searcher{"panics": fake{func() { panic("at the disco") }}, "too many": fake{}} {
		l := facts(t, analyzer(t, s, layer.Budget{}), content)
		if l.Searched.State != inventory.CoveragePartial || len(l.Searched.Gaps) == 0 || l.Searched.Gaps[0].Extractor != "fake" {
			t.Errorf("%s: %+v", name, l.Searched)
		}
		if l.Coverage.State != inventory.CoverageFull {
			t.Errorf("%s casts doubt on the packages: %+v", name, l.Coverage)
		}
	}
}

// fake finds more than is kept in every file, unless it does something else.
type fake struct{ do func() }

func (fake) Info() analyze.Info                     { return analyze.Info{Name: "fake", Version: "1", Max: 1} }
func (f fake) Layer() analyze.Search                { return f }
func (fake) Text(string, string) []inventory.Secret { return nil }
func (f fake) File(path string, _ []byte, _ io.Reader) ([]inventory.Secret, analyze.Reason, error) {
	if f.do != nil {
		f.do()
	}
	return make([]inventory.Secret, 1001), "", nil
}
