package feed

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/threat"
)

// catalog is a catalog of what is exploited: CVE-2024-1000 and so on.
func catalog(published string, n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`{"cveID":"CVE-2024-%d","dateAdded":"2026-01-01","dueDate":"2026-02-01","knownRansomwareCampaignUse":"Unknown"}`, 1000+i))
	}
	return fmt.Sprintf(`{"dateReleased":%q,"count":%d,"vulnerabilities":[%s]}`, published, n, strings.Join(list, ","))
}

func scoresCSV(date string, n int, epss string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#model_version:v1,score_date:%sT00:00:00Z\ncve,epss,percentile\n", date)
	for i := range n {
		fmt.Fprintf(&b, "CVE-2024-%d,%s,0.5\n", 1000+i, epss)
	}
	return b.String()
}

// document makes the source one document in a folder of its own, with a file.
func (b *bench) document(format, file, text string) {
	b.Helper()
	b.source = Source{Name: format, Format: format, Location: filepath.Join(b.root, format)}
	if err := errors.Join(os.MkdirAll(b.source.Location, 0o755), os.WriteFile(filepath.Join(b.source.Location, file), []byte(text), 0o644)); err != nil {
		b.Fatal(err)
	}
}

const kevFile = "known_exploited_vulnerabilities.json"

// TestDocuments: what is known beside the advisories comes into force as a
// snapshot, and leaves the advisories and their time as they are.
func TestDocuments(t *testing.T) {
	b := newBench(t)
	b.document(vuln.KEV, kevFile, catalog("2026-11-20T00:00:00Z", 20))
	r := b.load()
	s := r.Snapshot
	if !r.Changed || r.Feeds[0].New != 20 || s.Seq != 1 || s.Exploited.IsZero() || !s.Scores.IsZero() || !s.Digest.IsZero() || !s.At.IsZero() || s.Advisories != 0 {
		t.Fatalf("%+v", r)
	}
	if state := b.state("kev"); state.Format != vuln.KEV || state.Records != 20 || state.Seq != 1 || !state.Dated.Equal(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", state)
	}

	b.source = Source{Name: "osv", Location: b.root, Ecosystems: []string{"PyPI"}}
	b.put("PyPI", records(30))
	osv := b.load().Snapshot
	if osv.Seq != 2 || osv.Advisories != 30 || osv.Exploited != s.Exploited || !osv.At.Equal(b.now) {
		t.Fatalf("%+v", osv)
	}

	b.now = b.now.Add(time.Hour)
	b.document(vuln.EPSS, "epss_scores-2026-11-21.csv", scoresCSV("2026-11-21", 20, "0.1"))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprint(z, scoresCSV("2026-11-22", 20, "0.2"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	b.document(vuln.EPSS, "epss_scores-2026-11-22.csv.gz", packed.String())
	r = b.load()
	if s := r.Snapshot; s.Seq != 3 || s.Digest != osv.Digest || !s.At.Equal(osv.At) || s.Exploited != osv.Exploited || s.Scores.IsZero() {
		t.Fatalf("%+v", s)
	}
	x, err := vuln.Load(t.Context(), b.store)
	if err != nil {
		t.Fatal(err)
	}
	f := x.Threats().Of("CVE-2024-1001")
	if f.EPSS != 0.2 || f.Exploited.IsZero() {
		t.Errorf("the newest scores count: %+v", f)
	}
	if r = b.load(); r.Changed || !r.Feeds[0].Unchanged {
		t.Errorf("the same file again: %+v", r)
	}
	if dropped, err := b.loader.Drop(t.Context(), []string{"kev"}); err != nil || !dropped.Snapshot.Exploited.IsZero() || dropped.Snapshot.Scores.IsZero() || dropped.Feeds[0].Gone != 20 || !dropped.Snapshot.At.Equal(osv.At) {
		t.Errorf("dropped: %+v, %v", dropped, err)
	}
	b.document(vuln.KEV, kevFile, catalog("2026-11-20T00:00:00Z", 20))
	if r = b.load(); !r.Changed || r.Snapshot.Exploited != s.Exploited {
		t.Errorf("back again: %+v", r)
	}
}

// TestDocumentsNotTaken: the last good one stays, and the state says why.
func TestDocumentsNotTaken(t *testing.T) {
	for name, test := range map[string]struct {
		text, problem string
		held          bool
	}{
		"a tenth is lost":    {catalog("2026-11-21T00:00:00Z", 18), "of 20 entries", true},
		"older":              {catalog("2026-11-19T00:00:00Z", 21), "the newer one stays", true},
		"of the far future":  {catalog("2036-11-19T00:00:00Z", 20), "not yet", false},
		"a page":             {"<html>", "not in its publisher's format", false},
		"broken off":         {catalog("2026-11-21T00:00:00Z", 20)[:300], "not in its publisher's format", false},
		"nothing":            {"", "not in its publisher's format", false},
		"counts what is not": {strings.Replace(catalog("2026-11-21T00:00:00Z", 20), `"count":20`, `"count":21`, 1), "lists 20", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.document(vuln.KEV, kevFile, catalog("2026-11-20T00:00:00Z", 20))
			before := b.load().Snapshot
			b.document(vuln.KEV, kevFile, test.text)
			r, err := b.loader.Load(t.Context(), b.source)
			if err != nil || r.Changed || r.Snapshot.Exploited != before.Exploited || errors.Is(r.Err(), ErrHeld) != test.held {
				t.Errorf("%+v, %v", r, err)
			}
			if state := b.state("kev"); state.Held != test.held || !strings.Contains(state.Problem, test.problem) || state.Records != 20 {
				t.Errorf("%+v", state)
			}
			if b.source.AcceptLoss = true; test.held {
				if r := b.load(); !r.Changed || r.Err() != nil {
					t.Errorf("accepted: %+v", r)
				}
			}
		})
	}
}

// TestDocumentMissing: a folder without the document, and a format that nobody knows.
func TestDocumentMissing(t *testing.T) {
	b := newBench(t)
	b.document(vuln.KEV, "else.json", "{}")
	if r, err := b.loader.Load(t.Context(), b.source); err != nil || r.Err() == nil || !strings.Contains(b.state("kev").Problem, "holds no known_exploited") {
		t.Errorf("%+v, %v", r, err)
	}
	b.source.Format = "stix"
	if _, err := b.loader.Load(t.Context(), b.source); err == nil || !strings.Contains(err.Error(), "no format") {
		t.Error(err)
	}
}

// TestDocumentFetched: a document is asked for with what it was served with.
func TestDocumentFetched(t *testing.T) {
	b := newBench(t)
	text, asked := catalog("2026-11-20T00:00:00Z", 20), []string{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("If-None-Match"))
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("ETag", `"1"`)
		fmt.Fprint(w, text)
	}))
	defer server.Close()
	b.opts.Client = server.Client()
	b.loader = NewLoader(b.opts)
	b.source = Source{Name: "kev", Format: vuln.KEV, Location: server.URL + "/kev.json"}
	if r := b.load(); !r.Changed || r.Feeds[0].Records != 20 {
		t.Errorf("%+v", r)
	}
	if r := b.load(); r.Changed || !r.Feeds[0].Unchanged || r.Feeds[0].Records != 20 {
		t.Errorf("%+v", r)
	}
	b.want("validators", fmt.Sprint(asked), `[ "1"]`)
}

// TestEndsFetched: of what is published, what is of use is fetched.
func TestEndsFetched(t *testing.T) {
	b := newBench(t)
	asked := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch r.URL.Path {
		case "/api/all.json":
			fmt.Fprint(w, `["debian","windows"]`)
		case "/api/debian.json":
			fmt.Fprint(w, `[{"cycle":"12","eol":"2026-07-11"}]`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	b.opts.Client = server.Client()
	b.loader = NewLoader(b.opts)
	b.source = Source{Name: "endoflife", Format: vuln.EndOfLife, Location: server.URL + "/api"}
	r := b.load()
	if !r.Changed || r.Feeds[0].Records != 1 || asked != 2 {
		t.Errorf("%+v after %d requests", r, asked)
	}
	if again := b.load(); again.Changed || again.Snapshot.Lifecycles != r.Snapshot.Lifecycles {
		t.Errorf("the same again: %+v", again)
	}
}

// TestDocumentsPublished loads what the publishers have published.
func TestDocumentsPublished(t *testing.T) {
	root := testparts.Feeds(t)
	b := newBench(t)
	if err := os.Symlink(filepath.Join(root, "endoflife", "api"), filepath.Join(b.root, "endoflife")); err != nil {
		t.Fatal(err)
	}
	var sent bytes.Buffer
	got := t.TempDir()
	if err := errors.Join(Send(t.Context(), &sent, b.root), Receive(t.Context(), &sent, got)); err != nil {
		t.Fatal(err)
	}
	b.source = Source{Name: "loaded/endoflife", Format: vuln.EndOfLife, Location: got}
	if r := b.load(); r.Err() != nil || r.Snapshot.Lifecycles.IsZero() || r.Feeds[0].Records < 500 {
		t.Errorf("endoflife: %+v", r)
	}
	for _, format := range []string{vuln.KEV, vuln.EPSS} {
		b.source = Source{Name: format, Format: format, Location: filepath.Join(root, format)}
		if r := b.load(); r.Err() != nil || !r.Changed || r.Feeds[0].Skipped > 0 {
			t.Errorf("%s: %+v", format, r)
		}
	}
}

// TestIndexForJoins: a folder that is read without a server has what stands beside
// its advisories too, and files of that are no advisories.
func TestIndexForJoins(t *testing.T) {
	b := newBench(t)
	b.put("PyPI", map[string]string{"CVE-2024-1003.json": record("CVE-2024-1003", "2.0"), "P-1.json": record("P-1", "2.0")})
	for name, text := range map[string]string{kevFile: catalog("2026-11-20T00:00:00Z", 20), "epss_scores-2026-11-21.csv": scoresCSV("2026-11-21", 20, "0.3")} {
		if err := os.WriteFile(filepath.Join(b.root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	image := imageOf(inventory.Package{Type: "pypi", Name: "pkg-cve-2024-1003", Version: "1.0", Ecosystem: "PyPI"})
	x, err := IndexFor(t.Context(), FolderOptions{Dir: b.root, Now: b.now}, image)
	if err != nil {
		t.Fatal(err)
	}
	s := x.Snapshot()
	found, _ := x.Findings(image)
	if len(found) != 1 || found[0].Exploited.IsZero() || found[0].EPSS != 0.3 || s.Exploited.IsZero() || s.Scores.IsZero() || s.Advisories != 2 {
		t.Errorf("%+v in %+v", found, s)
	}
	var sent bytes.Buffer
	got := t.TempDir()
	if err := errors.Join(Send(t.Context(), &sent, b.root), Receive(t.Context(), &sent, got)); err != nil {
		t.Fatal(err)
	}
	formats, err := FormatsIn(t.Context(), got)
	b.want("sent", fmt.Sprint(formats, err), "[epss kev osv] <nil>")
	if err := os.WriteFile(filepath.Join(b.root, kevFile), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := IndexFor(t.Context(), FolderOptions{Dir: b.root, Now: b.now}, image); !errors.Is(err, threat.ErrInvalid) {
		t.Errorf("a catalog without entries: %v", err)
	}
}
