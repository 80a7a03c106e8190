package sign_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/sign/seal"
	"github.com/bonded-dev/bonded/internal/sign/signtest"
	"github.com/bonded-dev/bonded/internal/verify"
)

// described tells of every image the same.
type described struct{}

func (described) SBOM(context.Context, repo.Sight, oci.Reference, string) ([]byte, error) {
	return []byte(`{"spdxVersion":"SPDX-2.3","packages":[{}]}`), nil
}

func (described) Findings(_ context.Context, _ repo.Sight, ref oci.Reference) (*api.Findings, error) {
	return &api.Findings{
		Artifact: api.Artifact{Repository: ref.Repository.String(), Digest: ref.Digest.String()},
		Findings: []api.Finding{{ID: "CVE-1", Package: "p", Version: "1", Severity: "high"}},
	}, nil
}

func describing(o *sign.Options) { o.Describe = described{} }

// listed returns what is listed about an image, by its predicate type, each
// verified as a stranger would.
func (w *world) listed(r oci.Repository, d oci.Digest) map[string]*evidence.Statement {
	w.Helper()
	found, err := w.d.Referrers(w.Context(), r, d, seal.MediaType, repo.Viewer{}, repo.Page{Limit: 100})
	if err != nil && !errors.Is(err, repo.ErrNotFound) {
		w.Fatal(err)
	}
	root, err := w.i.TrustedRoot()
	w.must(err)
	all := map[string]*evidence.Statement{}
	for _, f := range found {
		typ := f.Annotations["dev.sigstore.bundle.predicateType"]
		if f.ArtifactType != seal.MediaType || f.Annotations["dev.sigstore.bundle.content"] != "dsse-envelope" || all[typ] != nil {
			w.Fatalf("%+v beside %v", f, all)
		}
		var m *repo.Manifest
		w.must(w.d.View(w.Context(), func(tx *db.Tx) (err error) {
			m, err = tx.Stored(w.Context(), f.Digest)
			return err
		}))
		content, err := w.Blobs.Open(w.Context(), m.References[1].Digest)
		w.must(err)
		bundle := make([]byte, m.References[1].Size)
		_, err = content.ReadAt(bundle, 0)
		w.must(errors.Join(err, content.Close()))
		var said statements
		sig, err := verify.Offline(verify.Anchor{Name: "bonded", Kind: verify.KindSigstore, Roots: [][]byte{root}}, bundle, d, &said)
		w.must(err)
		if sig.Identity.Subject != signtest.URL+"/server" {
			w.Errorf("signed by %s", sig.Identity)
		}
		all[typ] = said.st
	}
	return all
}

type statements struct{ st *evidence.Statement }

func (s *statements) Read(payload []byte, _ *evidence.Signature) (*evidence.Statement, error) {
	doc, err := attest.Parse(payload)
	if err == nil {
		s.st, err = doc.Statement(0)
	}
	return s.st, err
}

func kindsOf(all map[string]*evidence.Statement) []string {
	var kinds []string
	for _, st := range all {
		kinds = append(kinds, string(st.Kind))
	}
	slices.Sort(kinds)
	return kinds
}

var allKinds = []string{"sbom", "scan", "summary"}

// TestEvidence: what is needed is made once, says what the decision in force
// says, and follows it.
func TestEvidence(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		w := newWorld(t, o, describing)
		d := w.image(app, "one")
		w.must(w.Need(t.Context(), app, d))
		if all := w.listed(app, d); len(all) != 0 {
			t.Fatalf("of what is held: %v", all)
		}
		id := w.judge(app, d, api.Allow)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if err := w.Need(t.Context(), app, d); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		said := w.listed(app, d)
		if kinds := kindsOf(said); !slices.Equal(kinds, allKinds) || w.i.Entries.Load() != 4 {
			t.Fatalf("listed are %v after %d signatures", kinds, w.i.Entries.Load())
		}
		s := said[seal.TypeSummary].Summary
		p, err := w.Proof(t.Context(), id)
		w.must(err)
		switch {
		case !s.Passed || s.Verifier != signtest.URL+"/server" || s.Resource != "oci://bonded.example/production/app@"+d.String():
			t.Errorf("the summary says %+v", s)
		case s.Policy.Digests["sha256"] != gate.Hex() || s.Inputs[0].Digests["sha256"] != oci.FromBytes(p.Batch.Bundle).Hex() || s.Inputs[1].Digests["sha256"] != oci.FromBytes(p.Payload).Hex():
			t.Errorf("the summary rests on %+v and %+v", s.Policy, s.Inputs)
		case !slices.Equal(s.Levels, []string{"SLSA_BUILD_LEVEL_UNEVALUATED", "BONDED_ADMITTED_PRODUCTION"}):
			t.Errorf("its levels are %v", s.Levels)
		}
		if n := said[seal.TypeScan].Scan.Counts["high"]; n != 1 {
			t.Errorf("the scan counts %v", said[seal.TypeScan].Scan.Counts)
		}

		w.must(w.Need(t.Context(), app, d))
		if n := w.i.Entries.Load(); n != 4 {
			t.Errorf("what there is was signed again: %d signatures", n)
		}
		w.judge(app, d, api.Deny) // it stays for now
		w.must(w.Need(t.Context(), app, d))
		said = w.listed(app, d)
		if s := said[seal.TypeSummary].Summary; s.Passed || !slices.Equal(s.Levels, []string{"FAILED"}) || len(said) != 3 {
			t.Errorf("after a denial the summary says %+v", s)
		}
		w.judge(app, d, api.CannotTell)
		w.must(w.Need(t.Context(), app, d))
		if kinds := kindsOf(w.listed(app, d)); !slices.Equal(kinds, []string{"sbom", "scan"}) {
			t.Errorf("while nobody can tell, listed are %v", kinds)
		}
	})
}

// TestEvidenceElsewhere: the SBOM of an image is signed once, wherever it stands;
// its summaries are each of one placement. None of them counts as evidence.
func TestEvidenceElsewhere(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, describing)
	staging := oci.MustRepository("staging/app")
	d := w.image(app, "one")
	w.image(staging, "one")
	w.image(oci.MustRepository("sandbox/app"), "one")
	for _, r := range []oci.Repository{app, staging} {
		w.judge(r, d, api.Allow)
		w.must(w.Need(t.Context(), r, d))
		all := w.listed(r, d)
		if s := all[seal.TypeSummary]; len(all) != 3 || !strings.Contains(s.Summary.Resource, r.String()) {
			t.Errorf("in %s: %v", r, kindsOf(all))
		}
	}
	w.must(w.Need(t.Context(), oci.MustRepository("sandbox/app"), d))
	if n := w.i.Entries.Load(); n != 6 { // two batches, two summaries, SBOM and scan
		t.Errorf("%d signatures", n)
	}
	w.must(w.d.View(t.Context(), func(tx *db.Tx) error {
		rs, err := tx.ReferrersOf(t.Context(), d)
		if len(rs) != 0 {
			t.Errorf("gates are told of %v", rs)
		}
		return err
	}))
}

// TestEvidenceWhileDown: what is listed is never about a decision that is not in
// force, although nothing can be signed in its place.
func TestEvidenceWhileDown(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, describing)
	d := w.image(app, "one")
	w.judge(app, d, api.Allow)
	w.must(w.Need(t.Context(), app, d))
	w.judge(app, d, api.Deny)
	w.i.NoTSA.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := w.Need(ctx, app, d); err == nil {
		t.Error("it was made although nothing can be signed")
	}
	if all := w.listed(app, d); all[seal.TypeSummary] != nil || len(all) != 2 {
		t.Errorf("listed are %v", kindsOf(all))
	}
	w.i.NoTSA.Store(false)
	w.must(w.Need(t.Context(), app, d))
	if s := w.listed(app, d)[seal.TypeSummary]; s == nil || s.Summary.Passed {
		t.Errorf("the summary says %+v", s)
	}
}

// TestAbandoned: an intent that hangs is finished where it is wanted still, and
// else abandoned, with an event.
func TestAbandoned(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, describing)
	wanted, gone := w.image(app, "wanted"), w.image(app, "gone")
	for _, d := range []oci.Digest{wanted, gone} {
		_, err := w.Prove(t.Context(), w.judge(app, d, api.Allow))
		w.must(err)
	}
	w.i.NoLog.Store(true)
	for _, d := range []oci.Digest{wanted, gone} {
		if err := w.Need(t.Context(), app, d); err == nil {
			t.Fatal("it was signed without a log")
		}
	}
	w.judge(app, gone, api.Deny)
	w.i.NoLog.Store(false)
	w.clock.ahead.Add(int64(time.Minute))
	after := w.flow()
	w.must(after.Recover(t.Context()))
	if kinds := kindsOf(w.listed(app, wanted)); !slices.Equal(kinds, allKinds) {
		t.Errorf("what is wanted: %v", kinds)
	}
	if s := w.listed(app, gone)[seal.TypeSummary]; s != nil && s.Summary.Passed {
		t.Errorf("what is not wanted is listed: %+v", s.Summary)
	}
	if !slices.Contains(w.events(), "abandoned summary") {
		t.Errorf("nothing was said of what was abandoned: %v", w.events())
	}
	w.finished()
}

// finished checks that no intent hangs.
func (w *world) finished() {
	w.Helper()
	w.must(w.d.View(w.Context(), func(tx *db.Tx) error {
		ids, err := tx.Unfinished(w.Context(), 100)
		if len(ids) > 0 {
			w.Errorf("intents %v hang", ids)
		}
		return err
	}))
}

// TestLevels: the build level is that of what the gate was satisfied by, the
// highest, and of nothing else.
func TestLevels(t *testing.T) {
	w := newWorld(t, db.Options{Folder: t.TempDir()}, describing)
	for name, test := range map[string]struct {
		reasons []api.Reason
		want    string
	}{
		"none":    {[]api.Reason{{Rule: "a", Outcome: api.Allow}}, "UNEVALUATED"},
		"zero":    {[]api.Reason{{Rule: "a", Outcome: api.Allow, Level: new(0)}}, "0"},
		"highest": {[]api.Reason{{Rule: "a", Outcome: api.Allow, Level: new(1)}, {Rule: "b", Outcome: api.Allow, Level: new(3)}, {Rule: "c", Outcome: api.Allow}}, "3"},
		"waived":  {[]api.Reason{{Rule: "a", Outcome: api.Allow, Waived: []api.Waived{{Waiver: "1"}}}}, "UNEVALUATED"},
		"denied":  {[]api.Reason{{Rule: "a", Outcome: api.Deny, Level: new(3)}}, "UNEVALUATED"},
	} {
		d := w.image(app, name)
		w.reasons = test.reasons
		w.judge(app, d, api.Allow)
		w.must(w.Need(t.Context(), app, d))
		if s := w.listed(app, d)[seal.TypeSummary].Summary; !slices.Equal(s.Levels, []string{"SLSA_BUILD_LEVEL_" + test.want, "BONDED_ADMITTED_PRODUCTION"}) {
			t.Errorf("%s: %v", name, s.Levels)
		}
	}
}
