package sign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign/seal"
)

// wanted is the evidence about a placement that there is to be: what is made from
// the decision in force and nothing else.
type wanted struct {
	placed   *repo.Placed
	decision *api.Decision
	about    map[seal.Kind]string
	listed   []Made
}

// missing returns the kinds that are not listed, in order.
func (w *wanted) missing() []seal.Kind {
	var kinds []seal.Kind
	for _, k := range []seal.Kind{seal.Summary, seal.SBOM, seal.Scan} {
		if w.about[k] != "" && !slices.ContainsFunc(w.listed, func(m Made) bool { return m.Kind == k && m.About == w.about[k] }) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// superseded returns what is listed and is about another decision.
func (w *wanted) superseded(kinds ...seal.Kind) []Made {
	var old []Made
	for _, m := range w.listed {
		if slices.Contains(kinds, m.Kind) && m.About != w.about[m.Kind] {
			old = append(old, m)
		}
	}
	return old
}

// want reads what there is and what there is to be. Nothing is wanted of what is
// not admitted in a gated zone.
func (f *Flow) want(ctx context.Context, tx Tx, r oci.Repository, d oci.Digest) (*wanted, error) {
	w := &wanted{about: map[seal.Kind]string{}}
	zone, err := f.Zones.Of(r)
	if errors.Is(err, repo.ErrNotFound) || err == nil && !zone.Gated() {
		return w, nil
	}
	if err != nil {
		return nil, err
	}
	w.placed, err = tx.Lookup(ctx, r, repo.Selector{Digest: d}, repo.Viewer{Quarantine: true})
	if errors.Is(err, repo.ErrNotFound) {
		return w, nil
	}
	if err != nil {
		return nil, err
	}
	if w.listed, err = tx.MadeIn(ctx, r, d); err != nil {
		return nil, err
	}
	at := &w.placed.Placement
	if !at.Stands() || at.Decision == 0 {
		return w, nil
	}
	if _, w.decision, err = tx.Payload(ctx, at.Decision); err != nil {
		return nil, err
	}
	if w.decision.Outcome != api.CannotTell { // a summary can only say yes or no
		w.about[seal.Summary] = fmt.Sprintf("%s@%s#%d", r, d, at.Decision)
	}
	if in := w.decision.Inputs; f.Describe != nil && w.placed.Manifest.Kind == oci.KindImage && in.Inventory != "" {
		w.about[seal.SBOM] = fmt.Sprintf("%s#%s", d, in.Inventory)
		w.about[seal.Scan] = fmt.Sprintf("%s#%s#%s", d, in.Inventory, in.Snapshot)
	}
	if f.LogKey != nil {
		key := f.LogKey()
		for k, about := range w.about {
			w.about[k] = about + "!" + key
		}
	}
	return w, nil
}

// made is evidence about a placement while it is made.
type made struct {
	done chan struct{}
	err  error
}

// Need makes what evidence about an admitted placement there is to be and is
// not, and takes off the list what is about a decision that is not in force any
// more. It returns when ctx ends; the making goes on.
func (f *Flow) Need(ctx context.Context, r oci.Repository, d oci.Digest) error {
	w, err := view(ctx, f.DB, func(tx Tx) (*wanted, error) { return f.want(ctx, tx, r, d) })
	if err != nil {
		return err
	}
	if old := w.superseded(seal.Summary); len(old) > 0 {
		if err := f.DB.Update(ctx, func(tx Tx) error { return f.unlist(ctx, tx, r, d, seal.Summary) }); err != nil {
			return err
		}
	}
	if len(w.missing()) == 0 {
		return nil
	}
	return f.start(r, d).wait(ctx)
}

// wait returns what came of it, or when ctx ends.
func (m *made) wait(ctx context.Context) error {
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// makeTime bounds the making of the evidence of one placement.
const makeTime = 30 * time.Second

// start makes the evidence of a placement, or joins who does.
func (f *Flow) start(r oci.Repository, d oci.Digest) *made {
	key := r.String() + "@" + d.String()
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.waiting[key]; m != nil {
		return m
	}
	m := &made{done: make(chan struct{})}
	if m.err = context.Cause(f.life); m.err != nil {
		close(m.done)
		return m
	}
	f.waiting[key] = m
	f.makers.Go(func() {
		ctx, cancel := context.WithTimeout(f.life, makeTime)
		defer cancel()
		f.making <- struct{}{}
		m.err = f.make(ctx, r, d)
		<-f.making
		if m.err != nil && !errors.Is(m.err, ErrTaken) && f.life.Err() == nil {
			f.Log.WarnContext(ctx, "making evidence about a placement; it is made when it is needed again", "repository", r.String(), "digest", d.String(), "error", m.err)
		}
		f.mu.Lock()
		delete(f.waiting, key)
		f.mu.Unlock()
		close(m.done)
	})
	return m
}

// stop ends what is made, and begins nothing more.
func (f *Flow) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end()
}

// make makes what is missing, one kind after the other.
func (f *Flow) make(ctx context.Context, r oci.Repository, d oci.Digest) error {
	w, err := view(ctx, f.DB, func(tx Tx) (*wanted, error) { return f.want(ctx, tx, r, d) })
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range w.missing() {
		if err := f.makeKind(ctx, w, k); err != nil {
			errs = append(errs, fmt.Errorf("making the %s of %s@%s: %w", k, r, d, err))
		}
	}
	return errors.Join(errs...)
}

func (f *Flow) makeKind(ctx context.Context, w *wanted, k seal.Kind) error {
	in, err := view(ctx, f.DB, func(tx Tx) (*seal.Intent, error) { return tx.IntentAbout(ctx, k, w.about[k]) })
	switch {
	case errors.Is(err, repo.ErrNotFound):
		if in, err = f.intendEvidence(ctx, w, k); err != nil {
			return err
		}
	case err != nil:
		return err
	case in.State == seal.Released:
		return f.DB.Update(ctx, func(tx Tx) error { return f.list(ctx, tx, w.placed.Repository, in) })
	}
	return f.publish(ctx, in.ID, w)
}

// intendEvidence renders a statement and stores the intent to sign it.
func (f *Flow) intendEvidence(ctx context.Context, w *wanted, k seal.Kind) (*seal.Intent, error) {
	at := &w.placed.Placement
	raw, err := f.render(ctx, w, k)
	if err != nil {
		return nil, err
	}
	in := &seal.Intent{
		Kind: k, About: w.about[k], Subject: at.Digest, Digest: oci.FromBytes(raw), Statement: raw, By: Principal,
		Why: fmt.Sprintf("%s%s@%s", needed, at.Repository, at.Digest), At: f.Clock().UTC().Truncate(time.Microsecond),
	}
	err = f.DB.Update(ctx, func(tx Tx) error {
		now, err := f.want(ctx, tx, at.Repository, at.Digest)
		if err != nil {
			return err
		}
		if now.about[k] != in.About { // it was decided again meanwhile
			return fmt.Errorf("%s@%s: %w", at.Repository, at.Digest, repo.ErrConflict)
		}
		return f.intend(ctx, tx, in)
	})
	return in, err
}

// publish finishes an intent of evidence.
func (f *Flow) publish(ctx context.Context, id int64, w *wanted) error {
	return f.finish(ctx, id, &carried{flow: f, beside: w.placed})
}

// carried lists a bundle beside a placement when it is released.
type carried struct {
	flow     *Flow
	beside   *repo.Placed
	manifest *repo.Manifest
}

// prepare puts the bundle into content, before the transaction that names it.
func (c *carried) prepare(ctx context.Context, s seal.Sealed) (err error) {
	if c.manifest, err = carrier(s.Intent(), c.beside); err != nil {
		return err
	}
	for _, b := range [][]byte{s.Intent().Bundle, empty} {
		if err := c.flow.Blobs.Put(ctx, oci.FromBytes(b), b); err != nil {
			return err
		}
	}
	return nil
}

func (c *carried) commit(ctx context.Context, tx Tx, s seal.Sealed) error {
	in := s.Intent()
	for _, b := range [][]byte{in.Bundle, empty} {
		if err := tx.PutBlob(ctx, oci.FromBytes(b), int64(len(b))); err != nil {
			return err
		}
	}
	if err := tx.PutManifest(ctx, c.manifest); err != nil {
		return err
	}
	if err := tx.PutMade(ctx, in.ID, c.manifest.Digest, in.Subject); err != nil {
		return err
	}
	return c.flow.list(ctx, tx, c.beside.Repository, in)
}

// empty is the content of a config that says nothing (OCI image specification
// 1.1, "Guidance for an Empty Descriptor").
var empty = []byte("{}")

// Annotations of a manifest that carries a bundle, as cosign writes them.
const (
	annotationContent   = "dev.sigstore.bundle.content"
	annotationPredicate = "dev.sigstore.bundle.predicateType"
	annotationCreated   = "org.opencontainers.image.created"
)

// carrier is the manifest by which a bundle is a referrer of its subject. The
// same bundle gives the same manifest.
func carrier(in *seal.Intent, subject *repo.Placed) (*repo.Manifest, error) {
	type descriptor struct {
		MediaType string     `json:"mediaType"`
		Digest    oci.Digest `json:"digest"`
		Size      int        `json:"size"`
	}
	config := descriptor{oci.MediaTypeEmpty, oci.FromBytes(empty), len(empty)}
	layer := descriptor{seal.MediaType, oci.FromBytes(in.Bundle), len(in.Bundle)}
	annotations := map[string]string{
		annotationContent: "dsse-envelope", annotationPredicate: in.Kind.Type(), annotationCreated: in.At.UTC().Format(time.RFC3339),
	}
	raw, err := json.Marshal(struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType"`
		Config        descriptor        `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Subject       descriptor        `json:"subject"`
		Annotations   map[string]string `json:"annotations"`
	}{2, oci.MediaTypeManifest, seal.MediaType, config, []descriptor{layer}, descriptor{subject.MediaType, subject.Manifest.Digest, len(subject.Raw)}, annotations})
	if err != nil {
		return nil, fmt.Errorf("writing the manifest of a bundle: %v", err)
	}
	return &repo.Manifest{
		Digest: oci.FromBytes(raw), MediaType: oci.MediaTypeManifest, ArtifactType: seal.MediaType, Kind: oci.KindEvidence, Subject: subject.Manifest.Digest,
		Raw: raw, Annotations: annotations, References: []repo.Reference{
			{Digest: config.Digest, MediaType: config.MediaType, Size: int64(config.Size), Role: repo.RoleConfig},
			{Digest: layer.Digest, MediaType: layer.MediaType, Size: int64(layer.Size), Role: repo.RoleLayer},
		},
	}, nil
}

// list attaches the evidence of an intent beside its subject in r, in place of
// what was there of its kind. Nothing is judged because of it.
func (f *Flow) list(ctx context.Context, tx Tx, r oci.Repository, in *seal.Intent) error {
	w, err := f.want(ctx, tx, r, in.Subject)
	if err != nil {
		return err
	}
	if err := f.unlist(ctx, tx, r, in.Subject, in.Kind); err != nil || w.about[in.Kind] != in.About {
		return err // it was decided again meanwhile: this one stays in custody
	}
	manifest, err := tx.MadeOf(ctx, in.ID)
	if err != nil {
		return err
	}
	if manifest.IsZero() {
		return fmt.Errorf("intent %d has no manifest: %w", in.ID, repo.ErrNotFound)
	}
	at := repo.Placement{Repository: r, Digest: manifest, Kind: oci.KindEvidence, State: repo.Attached, BroughtBy: Principal, BroughtAt: f.Clock()}
	placed, err := tx.Lookup(ctx, r, repo.Selector{Digest: manifest}, repo.Viewer{Quarantine: true})
	if err == nil {
		at.Version = placed.Version
		if placed.State == repo.Attached {
			return nil
		}
	} else if !errors.Is(err, repo.ErrNotFound) {
		return err
	}
	return tx.Place(ctx, &at)
}

// unlist takes off the list, in r, what the server has made of a kind about a
// decision that is not in force any more. The bundle stays in content.
func (f *Flow) unlist(ctx context.Context, tx Tx, r oci.Repository, d oci.Digest, k seal.Kind) error {
	w, err := f.want(ctx, tx, r, d)
	if err != nil {
		return err
	}
	for _, old := range w.superseded(k) {
		placed, err := tx.Lookup(ctx, r, repo.Selector{Digest: old.Manifest}, repo.Viewer{Quarantine: true})
		if errors.Is(err, repo.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		at := placed.Placement
		at.State, at.Hidden = repo.Removed, false
		if err := tx.Place(ctx, &at); err != nil {
			return err
		}
		e, err := f.event("statement.superseded")
		if err != nil {
			return err
		}
		if err := tx.Append(ctx, e.On(r, d).With("kind", string(k)).With("manifest", old.Manifest.String()).With("about", old.About)); err != nil {
			return err
		}
	}
	return nil
}

// resumeEvidence takes up an intent that was left: where the evidence is still
// wanted of some placement of its subject it is finished, else abandoned.
func (f *Flow) resumeEvidence(ctx context.Context, in *seal.Intent) error {
	r, ok := repositoryOf(in)
	if !ok {
		return f.abandon(ctx, in.ID, "it is about no placement")
	}
	w, err := view(ctx, f.DB, func(tx Tx) (*wanted, error) { return f.want(ctx, tx, r, in.Subject) })
	if err != nil {
		return err
	}
	if w.about[in.Kind] != in.About {
		return f.abandon(ctx, in.ID, "another decision is in force by now")
	}
	return f.start(r, in.Subject).wait(ctx)
}
