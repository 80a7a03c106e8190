package push_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
)

// TestManifestRefused: what a push may not be, and that it then leaves nothing.
func TestManifestRefused(t *testing.T) {
	w := newWorld(t, push.Limits{Referrers: 4})
	layer := w.upload(ann, app, "application/vnd.oci.image.layer.v1.tar", "a layer")
	config := w.upload(ann, app, oci.MediaTypeConfig, `{"architecture":"amd64","os":"linux"}`)
	absent := oci.Descriptor{MediaType: layer.MediaType, Digest: oci.FromBytes([]byte("absent")), Size: 6}
	short := layer
	short.Size--
	subject := w.pushed(ann, app, w.image(ann, app, "subject"), "1")
	admitted := w.pushed(ann, app, w.image(ann, app, "admitted"))
	w.move(app, admitted.Digest, repo.Admitted)
	for i := range 2 {
		w.pushed(bob, app, w.note(bob, app, subject, fmt.Sprint(i)))
	}
	deep := subject
	for range oci.MaxIndexDepth {
		deep = w.pushed(ann, app, map[string]any{"mediaType": oci.MediaTypeIndex, "manifests": []oci.Descriptor{deep}})
	}
	w.jobs()
	image := func(config oci.Descriptor, layers ...oci.Descriptor) map[string]any {
		return map[string]any{"config": config, "layers": layers}
	}
	for _, tt := range []struct {
		name string
		p    authz.Principal
		verb authz.Verb
		doc  map[string]any
		tags []string
		want error
	}{
		{"a layer that is not here", ann, authz.Push, image(config, layer, absent), nil, push.ErrBlobUnknown},
		{"a configuration that is not here", ann, authz.Push, image(absent, layer), nil, push.ErrBlobUnknown},
		{"a layer of another size", ann, authz.Push, image(config, short), nil, push.ErrSizeMismatch},
		{"what another has uploaded", bob, authz.Push, image(config, layer), nil, push.ErrBlobUnknown},
		{"an image by who may only attach", eve, authz.Attach, image(config, layer), nil, authz.ErrNotPermitted},
		{"by who may only pull", ann, authz.Pull, image(config, layer), nil, authz.ErrNotPermitted},
		{"schema 1", ann, authz.Push, map[string]any{"schemaVersion": 1, "mediaType": "application/vnd.docker.distribution.manifest.v1+json"}, nil, oci.ErrSchema1},
		{"nothing known", ann, authz.Push, map[string]any{"mediaType": "text/plain"}, nil, oci.ErrManifestInvalid},
		{"indexes too deep", ann, authz.Push, map[string]any{"mediaType": oci.MediaTypeIndex, "manifests": []oci.Descriptor{deep}}, nil, oci.ErrManifestInvalid},
		{"evidence about nothing, by who may only attach", eve, authz.Attach, w.note(eve, app, absent, "x"), nil, authz.ErrNotPermitted},
		{"one referrer too many", bob, authz.Push, w.note(bob, app, subject, "too many"), nil, push.ErrRefused},
		{"evidence under the tag of an image", ann, authz.Push, w.note(ann, app, admitted, "hijack"), []string{"1"}, push.ErrRefused},
	} {
		_, err := w.put(tt.p, tt.verb, app, tt.doc, tt.tags...)
		w.wantErr(tt.name, err, tt.want)
		raw, _ := json.Marshal(tt.doc)
		if _, err := w.db.PlacementOf(t.Context(), app, oci.FromBytes(raw)); err == nil {
			t.Errorf("%s was placed", tt.name)
		}
	}
	if got := w.jobs(); len(got) != 0 {
		t.Errorf("what was refused left jobs: %v", got)
	}
	raw, err := json.Marshal(image(config, layer))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Manifest(t.Context(), w.act(ann, authz.Push, app), w.viewer(ann, app), push.Put{Raw: raw, MediaType: oci.MediaTypeManifest, Digest: absent.Digest})
	if !errors.Is(err, push.ErrDigestMismatch) && !errors.Is(err, oci.ErrManifestInvalid) {
		t.Errorf("under another digest: %v", err)
	}
}

// TestReferrersOfOne: who brings evidence without end keeps out nobody else's, also
// not where it waited for what it is about.
func TestReferrersOfOne(t *testing.T) {
	w := newWorld(t, push.Limits{Referrers: 4})
	subject := w.pushed(ann, app, w.image(ann, app, "one"))
	for i := range 2 {
		w.pushed(bob, app, w.note(bob, app, subject, fmt.Sprint(i)))
	}
	_, err := w.put(bob, authz.Push, app, w.note(bob, app, subject, "too many"))
	w.wantErr("a third of one", err, push.ErrRefused)
	ours := w.pushed(ann, app, w.note(ann, app, subject, "signed"))
	w.pushed(ann, app, w.note(ann, app, subject, "signed")) // again
	w.pushed(bob, other, w.note(bob, other, subject, "waits"))
	_, err = w.put(bob, authz.Push, other, w.image(bob, other, "one"))
	w.wantErr("an image with what waited for it", err, push.ErrRefused)
	if _, err := w.db.PlacementOf(t.Context(), other, subject.Digest); err == nil {
		t.Error("what was refused was placed")
	}
	w.pushed(ann, app, w.note(ann, app, subject, "tested"))
	_, err = w.put(eve, authz.Attach, app, w.note(eve, app, subject, "one more than there may be"))
	w.wantErr("one more than there may be", err, push.ErrRefused)
	if p := w.at(app, ours.Digest); p.State != repo.Attached {
		t.Errorf("the signature is %+v", p)
	}
}

// TestWherePushed: where a manifest stands once it was taken, and what is judged
// because of it.
func TestWherePushed(t *testing.T) {
	w := newWorld(t, push.Limits{})
	image := w.image(ann, app, "one")
	desc := w.pushed(ann, app, image, "1")
	if p := w.at(app, desc.Digest); p.State != repo.Held || p.BroughtBy != "ann" || !p.BroughtAt.Equal(noon) {
		t.Errorf("in a gated zone: %+v", p)
	}
	key := push.JudgeKey(app, desc.Digest)
	if got := w.jobs(); !slices.Equal(got, []string{key}) {
		t.Errorf("jobs: %v", got)
	}

	w.pushed(ann, other, w.image(ann, other, "one")) // the same bytes elsewhere
	w.jobs()
	note := w.pushed(bob, app, w.note(bob, app, desc, "signed"))
	for _, r := range []oci.Repository{app, other} {
		if p := w.at(r, note.Digest); p.State != repo.Attached || p.BroughtBy != "bob" {
			t.Errorf("evidence in %s: %+v", r, p)
		}
	}
	if got, want := w.jobs(), []string{push.EvidenceKey(desc.Digest, note.Digest)}; !slices.Equal(got, want) {
		t.Errorf("evidence asks for %v, want %v", got, want)
	}

	early := oci.Descriptor{MediaType: oci.MediaTypeManifest, Digest: oci.FromBytes([]byte("to come")), Size: 7}
	before := w.pushed(bob, app, w.note(bob, app, early, "early"))
	if p := w.at(app, before.Digest); p.State != repo.Attached {
		t.Errorf("evidence before its subject: %+v", p)
	}
	if got := w.jobs(); len(got) != 0 {
		t.Errorf("evidence about nothing asks for %v", got)
	}

	open := w.pushed(authz.Anonymous, sandbox, w.image(authz.Anonymous, sandbox, "free"), "1")
	if p := w.at(sandbox, open.Digest); p.State != repo.Admitted || p.AdmittedAt.IsZero() {
		t.Errorf("in a sandbox: %+v", p)
	}
	if got := w.jobs(); len(got) != 0 {
		t.Errorf("a sandbox asks for %v", got)
	}
}

// TestOldForm: evidence under cosign's tags is spread with its subject, tags
// included, and a tag elsewhere moves only to what holds all that it found.
func TestOldForm(t *testing.T) {
	w := newWorld(t, push.Limits{})
	desc := w.pushed(ann, app, w.image(ann, app, "one"), "1")
	w.pushed(ann, other, w.image(ann, other, "one"))
	w.jobs()
	tag := "sha256-" + desc.Digest.Hex() + ".sig"
	tagged := func(r oci.Repository) (d oci.Digest) {
		w.view(func(tx *db.Tx) error {
			placed, err := tx.Lookup(t.Context(), r, repo.Selector{Tag: tag}, repo.Viewer{Quarantine: true})
			if err == nil {
				d = placed.Manifest.Digest
			}
			return nil
		})
		return d
	}
	one := w.pushed(bob, app, w.old(bob, app, "a"), tag)
	if got, want := w.jobs(), []string{push.EvidenceKey(desc.Digest, one.Digest)}; !slices.Equal(got, want) {
		t.Errorf("evidence under a tag asks for %v, want %v", got, want)
	}
	if w.at(other, one.Digest).State != repo.Attached || tagged(other) != one.Digest {
		t.Errorf("elsewhere it is %v, tagged %v", w.at(other, one.Digest).State, tagged(other))
	}
	both := w.pushed(bob, other, w.old(bob, other, "a", "b"), tag)
	if tagged(app) != both.Digest || tagged(other) != both.Digest {
		t.Error("a tag does not follow to what holds more")
	}
	less := w.pushed(bob, app, w.old(bob, app, "c"), tag)
	if tagged(app) != less.Digest || tagged(other) != both.Digest {
		t.Error("who writes over a tag in one repository takes away what another has")
	}
	w.view(func(tx *db.Tx) error {
		refs, err := tx.ReferrersOf(t.Context(), desc.Digest)
		if len(refs) != 3 {
			t.Errorf("of three that were tagged %v count", refs)
		}
		return err
	})
}

// TestPushedAgain: what becomes of a placement when the same bytes come again,
// from another.
func TestPushedAgain(t *testing.T) {
	for _, tt := range []struct {
		state repo.State
		in    oci.Repository
		want  repo.State
		by    string
	}{
		{repo.Held, app, repo.Held, "bob"},
		{repo.Denied, app, repo.Denied, "bob"},
		{repo.Admitted, app, repo.Admitted, "ann"},
		{repo.Admitted, quarantine, repo.Admitted, "bob"},
		{repo.Withdrawn, app, repo.Held, "bob"},
		{repo.Removed, app, repo.Held, "bob"},
	} {
		w := newWorld(t, push.Limits{})
		desc := w.pushed(ann, tt.in, w.image(ann, tt.in, "one"))
		if tt.state != repo.Held {
			w.move(tt.in, desc.Digest, tt.state)
		}
		w.jobs()
		w.pushed(bob, tt.in, w.image(bob, tt.in, "one"))
		if p := w.at(tt.in, desc.Digest); p.State != tt.want || p.BroughtBy != tt.by {
			t.Errorf("%s in %s: now %s, brought by %s; want %s, %s", tt.state, tt.in, p.State, p.BroughtBy, tt.want, tt.by)
		}
		if got := w.jobs(); len(got) != 1 {
			t.Errorf("%s: asks for %v", tt.state, got)
		}
	}
}

// TestTagOfAdmitted: what a tag for something admitted is answered.
func TestTagOfAdmitted(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outcome api.Outcome
		err     error
		want    error
		waiting string
		why     string
	}{
		{"allowed", api.Allow, nil, nil, "", ""},
		{"denied", api.Deny, nil, push.ErrRefused, "", ""},
		{"nobody can tell", api.CannotTell, nil, nil, "2", "a rule"},
		{"the gate cannot be asked", "", errors.New("no database"), nil, "2", "its gate is still to be asked whether it would let it in now"},
	} {
		w := newWorld(t, push.Limits{})
		desc := w.pushed(ann, app, w.image(ann, app, "one"), "1")
		err := w.db.Update(t.Context(), func(tx *db.Tx) error {
			_, err := tx.SetTag(t.Context(), app, "1", desc.Digest)
			return err
		})
		w.wantErr(tt.name, err, nil)
		w.move(app, desc.Digest, repo.Admitted)
		w.entry.outcome, w.entry.err = tt.outcome, tt.err
		out, err := w.put(ann, authz.Push, app, w.image(ann, app, "one"), "1", "2")
		w.wantErr(tt.name, err, tt.want)
		if out != nil && (strings.Join(out.Waiting, ",") != tt.waiting || out.Why != tt.why) {
			t.Errorf("%s: waiting %v, %q", tt.name, out.Waiting, out.Why)
		}
		if err != nil && !strings.Contains(err.Error(), "tag 2 of dev/app stays as it is: a rule") {
			t.Errorf("%s: %v", tt.name, err)
		}
		var waits []string
		err = w.db.View(t.Context(), func(tx *db.Tx) (err error) {
			waits, err = tx.Pending(t.Context(), app, desc.Digest)
			return err
		})
		if want := tt.want == nil; err != nil || slices.Equal(waits, []string{"2"}) != want {
			t.Errorf("%s: %v wait, %v", tt.name, waits, err)
		}
		_, err = w.put(ann, authz.Push, app, w.image(ann, app, "one"), "1")
		w.wantErr("a tag that is there", err, nil)
		if w.entry.asked != 1 {
			t.Errorf("%s: the gate was asked %d times", tt.name, w.entry.asked)
		}
	}
}

// TestOneQuestionAtATime: while a gate thinks about one tag of a principal, its
// other pushes are not answered by it, and those of others are.
func TestOneQuestionAtATime(t *testing.T) {
	w := newWorld(t, push.Limits{})
	desc := w.pushed(ann, app, w.image(ann, app, "one"))
	w.move(app, desc.Digest, repo.Admitted)
	image, theirs := w.image(ann, app, "one"), w.image(bob, app, "one")
	asked, answer := make(chan struct{}), make(chan struct{})
	w.entry.outcome, w.entry.hang = api.Allow, answer
	w.entry.began = func() { asked <- struct{}{} }
	first := make(chan *push.Pushed)
	go func() {
		out, err := w.put(ann, authz.Push, app, image, "1")
		if err != nil {
			t.Error(err)
		}
		first <- out
	}()
	<-asked
	out, err := w.put(ann, authz.Push, app, w.image(ann, app, "one"), "2")
	if err != nil || len(out.Waiting) != 1 {
		t.Errorf("the second of one principal: %+v, %v", out, err)
	}
	second := make(chan *push.Pushed)
	go func() {
		out, err := w.put(bob, authz.Push, app, theirs, "3")
		if err != nil {
			t.Error(err)
		}
		second <- out
	}()
	<-asked
	close(answer)
	for _, c := range []chan *push.Pushed{first, second} {
		if out := <-c; out != nil && len(out.Waiting) != 0 {
			t.Errorf("answered: %+v", out)
		}
	}
}
