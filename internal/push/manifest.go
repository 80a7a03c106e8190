package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Put is a manifest that a client sends.
type Put struct {
	Raw       []byte
	MediaType string     // the Content-Type, "" when there was none
	Digest    oci.Digest // what the URL names; zero when it names a tag
	Tags      []string   // tags it should get, checked by oci.CheckTag
}

// Pushed says what became of it.
type Pushed struct {
	Digest  oci.Digest
	Subject oci.Digest // zero unless it is a referrer
	State   repo.State
	Kind    oci.Kind
	// Waiting are tags that do not move to what is admitted yet, because its
	// gate cannot tell now whether it would let it in; Why says it in a sentence.
	Waiting []string
	Why     string
}

// Manifest takes a manifest into act's repository: into the intake of a gated
// zone, beside its subject when it is evidence, straight in when the zone is a
// sandbox. Act is one of push, or of attach, which suffices for evidence about
// something v can see. A tag for what is admitted already is refused where the
// gate would not let it in now. Errors match oci.ErrManifestInvalid, oci.ErrSchema1,
// oci.ErrDigestInvalid, ErrDigestMismatch, ErrBlobUnknown, ErrSizeMismatch,
// ErrRefused, authz.ErrNotPermitted, repo.ErrNotFound.
func (f *Flow) Manifest(ctx context.Context, act authz.Act, v repo.Viewer, in Put) (*Pushed, error) {
	r := act.Repository()
	if err := act.Permits(r, authz.Push, authz.Attach); err != nil {
		return nil, err
	}
	zone, err := f.Zones.Of(r)
	if err != nil {
		return nil, err
	}
	alg := oci.SHA256
	if !in.Digest.IsZero() {
		alg = in.Digest.Algorithm()
	}
	m, err := oci.ParseManifest(in.Raw, in.MediaType, alg)
	if err != nil {
		return nil, err
	}
	if !in.Digest.IsZero() && m.Digest != in.Digest {
		return nil, fmt.Errorf("the manifest is %s, not %s: %w", m.Digest, in.Digest, ErrDigestMismatch)
	}
	p := &putting{flow: f, act: act, viewer: v, zone: zone, tags: in.Tags, m: m, kind: m.Kind()}
	if hides(m, p.kind) {
		// Whether content can be looked at must not depend on what others hold.
		if err := f.Update(ctx, func(tx Tx) error { return p.checkContent(ctx, tx) }); err != nil {
			return nil, err
		}
		p.kind = f.runnable(ctx, m, p.kind)
	}
	if p.kind != oci.KindEvidence {
		if err := act.Permits(r, authz.Push); err != nil {
			return nil, err
		}
	}
	if p.event, err = f.event(act.Principal(), "manifest.pushed"); err != nil {
		return nil, err
	}
	p.event = p.event.On(r, m.Digest).With("kind", string(p.kind))
	if len(in.Tags) > 0 {
		p.event = p.event.With("tags", strings.Join(in.Tags, ","))
	}
	err = f.Update(ctx, func(tx Tx) error { return p.commit(ctx, tx) })
	if errors.Is(err, errUnasked) {
		p.answer = f.ask(ctx, act.Principal().Name(), r, m.Digest)
		err = f.Update(ctx, func(tx Tx) error { return p.commit(ctx, tx) })
	}
	if err != nil {
		return nil, err
	}
	out := &Pushed{Digest: m.Digest, State: p.state, Kind: p.kind}
	if len(p.waiting) > 0 && p.answer.outcome != api.Allow {
		out.Waiting, out.Why = p.waiting, p.answer.sentence
	}
	if m.Subject != nil {
		out.Subject = m.Subject.Digest
	}
	return out, nil
}

// putting is one Manifest call. commit may run more than once.
type putting struct {
	flow   *Flow
	act    authz.Act
	viewer repo.Viewer
	zone   repo.Zone
	tags   []string
	m      *oci.Manifest
	kind   oci.Kind
	event  audit.Event
	answer *answer // nil until Entry was asked
	// Set by commit:
	state   repo.State
	arrived bool         // it did not stand in the repository before
	joined  []oci.Digest // evidence that waited for it there
	beside  bool         // of evidence: its subject stands in the repository
	waiting []string     // tags that are to move to what is admitted
}

func (p *putting) commit(ctx context.Context, tx Tx) error {
	if err := p.checkTrust(ctx, tx); err != nil {
		return err
	}
	if err := p.checkContent(ctx, tx); err != nil {
		return err
	}
	if err := p.checkSubject(ctx, tx); err != nil {
		return err
	}
	if err := tx.PutManifest(ctx, p.stored()); err != nil {
		return err
	}
	if err := p.place(ctx, tx); err != nil {
		return err
	}
	if err := p.setTags(ctx, tx); err != nil {
		return err
	}
	if err := p.spreadIt(ctx, tx); err != nil {
		return err
	}
	ev := p.event.With("state", string(p.state))
	if len(p.waiting) > 0 {
		ev = ev.With("tags_waiting", strings.Join(p.waiting, ","))
	}
	if err := tx.Append(ctx, ev); err != nil {
		return err
	}
	return p.enqueue(ctx, tx)
}

// stored is m as the store keeps it.
func (p *putting) stored() *repo.Manifest {
	s := &repo.Manifest{
		Digest: p.m.Digest, MediaType: p.m.MediaType, ArtifactType: p.m.EffectiveArtifactType(), Kind: p.kind,
		Raw: p.m.Raw, Annotations: p.m.Annotations,
	}
	if p.m.Subject != nil {
		s.Subject = p.m.Subject.Digest
	}
	for i, d := range p.m.References() {
		ref := repo.Reference{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, Role: repo.RoleLayer}
		switch {
		case p.m.IsIndex():
			ref.Role = repo.RoleChild
			if d.Platform != nil {
				ref.Platform = d.Platform.String()
			}
		case i == 0:
			ref.Role = repo.RoleConfig
		case oci.IsForeignLayer(d.MediaType):
			ref.Role = repo.RoleForeign
		}
		s.References = append(s.References, ref)
	}
	return s
}

// maxMissing bounds the digests that an error names.
const maxMissing = 20

// checkContent makes sure that all content is here and the caller's to use.
// Children of an index may be absent (a sparse index), and so may layers that
// are kept elsewhere by their media type.
func (p *putting) checkContent(ctx context.Context, tx Tx) error {
	if p.m.IsIndex() {
		return p.checkDepth(ctx, tx)
	}
	seen := map[oci.Digest]bool{}
	var missing []string
	for i, d := range p.m.References() {
		if seen[d.Digest] || i > 0 && oci.IsForeignLayer(d.MediaType) {
			continue // nothing is asked about a layer that is kept elsewhere, and naming it gives nothing
		}
		seen[d.Digest] = true
		access, err := tx.BlobAccess(ctx, p.act.Repository(), d.Digest, p.viewer)
		switch {
		case errors.Is(err, repo.ErrNotFound) || err == nil && !access.Readable:
			missing = append(missing, d.Digest.String())
		case err != nil:
			return err
		case access.Size != d.Size:
			return fmt.Errorf("descriptor of %s says %d bytes, the content has %d: %w", d.Digest, d.Size, access.Size, ErrSizeMismatch)
		}
	}
	if more := len(missing) - maxMissing; more > 0 {
		missing = append(missing[:maxMissing], fmt.Sprintf("and %d more", more))
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: %w; upload or mount it first", strings.Join(missing, ", "), ErrBlobUnknown)
	}
	return nil
}

// maxIndexes bounds how many indexes may stand below one.
const maxIndexes = 1000

// checkDepth refuses indexes nested too deeply, as far as they are here for the
// sender to see. A cycle cannot exist: it would need a digest known before the
// content.
func (p *putting) checkDepth(ctx context.Context, tx Tx) error {
	heights := map[oci.Digest]int{}
	below, err := p.heightBelow(ctx, tx, p.m.Manifests, heights)
	if err == nil && below >= oci.MaxIndexDepth {
		err = fmt.Errorf("%w: indexes nested deeper than %d", oci.ErrManifestInvalid, oci.MaxIndexDepth)
	}
	return err
}

// heightBelow returns how many indexes are on the longest way down from one
// with these children. heights remembers those that were looked at.
func (p *putting) heightBelow(ctx context.Context, tx Tx, children []oci.Descriptor, heights map[oci.Digest]int) (int, error) {
	longest := 0
	for _, c := range children {
		if c.MediaType != oci.MediaTypeIndex && c.MediaType != oci.MediaTypeDockerList {
			continue
		}
		h, known := heights[c.Digest]
		if !known {
			if len(heights) == maxIndexes {
				return 0, fmt.Errorf("%w: more than %d indexes below it", oci.ErrManifestInvalid, maxIndexes)
			}
			heights[c.Digest] = 0
			var err error
			if h, err = p.height(ctx, tx, c.Digest, heights); err != nil {
				return 0, err
			}
			heights[c.Digest] = h
		}
		longest = max(longest, h)
	}
	return longest, nil
}

// height is that of an index, itself counted; 0 for what is no index here.
func (p *putting) height(ctx context.Context, tx Tx, d oci.Digest, heights map[oci.Digest]int) (int, error) {
	placed, err := tx.Lookup(ctx, p.act.Repository(), repo.Selector{Digest: d}, p.viewer)
	if errors.Is(err, repo.ErrNotFound) || err == nil && (placed.Manifest.Kind != oci.KindIndex || !p.viewer.Visible(&placed.Placement)) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	children := make([]oci.Descriptor, 0, len(placed.References))
	for _, ref := range placed.References {
		children = append(children, oci.Descriptor{Digest: ref.Digest, MediaType: ref.MediaType})
	}
	below, err := p.heightBelow(ctx, tx, children, heights)
	return below + 1, err
}

// checkSubject: evidence needs a subject that the caller can see, or push
// rights where the subject may still come; and there is a limit.
func (p *putting) checkSubject(ctx context.Context, tx Tx) error {
	p.beside = false
	if p.kind != oci.KindEvidence {
		return nil
	}
	r, push := p.act.Repository(), p.act.Permits(p.act.Repository(), authz.Push)
	subject, ok := p.subject()
	if !ok {
		return push
	}
	placed, err := tx.Lookup(ctx, r, repo.Selector{Digest: subject}, p.viewer)
	there := err == nil
	switch {
	case err != nil && !errors.Is(err, repo.ErrNotFound):
		return err
	case (!there || !p.viewer.Visible(&placed.Placement)) && push != nil:
		return push
	case !there:
		return p.checkWaiting(ctx, tx, subject)
	}
	p.beside = true
	referrers, err := tx.ReferrersOf(ctx, subject)
	if err != nil {
		return err
	}
	if slices.Contains(referrers, p.m.Digest) {
		return nil
	}
	return p.room(ctx, tx, subject, referrers, 1)
}

// room bounds what refers to a subject, with more to come; and what of it one
// principal has brought to half of that, so that nobody alone can keep out the
// signature of another.
func (p *putting) room(ctx context.Context, tx Tx, subject oci.Digest, referrers []oci.Digest, more int) error {
	limit, who := p.flow.Limits.Referrers, p.act.Principal().Name()
	if len(referrers)+more > limit {
		return fmt.Errorf("%w: %s has %d referrers already, at most %d", ErrRefused, subject, len(referrers), limit)
	}
	share, own := max(limit/2, 1), more
	if len(referrers)+more <= share {
		return nil
	}
	for _, d := range referrers {
		placements, err := tx.Placements(ctx, d)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(placements, func(at repo.Placement) bool { return at.BroughtBy == who }) {
			own++
		}
	}
	if own > share {
		return fmt.Errorf("%w: %s has brought %d of the referrers of %s already, at most %d of one", ErrRefused, who, own-more, subject, share)
	}
	return nil
}

// checkWaiting bounds what waits in the repository for a subject to come.
func (p *putting) checkWaiting(ctx context.Context, tx Tx, subject oci.Digest) error {
	limit := p.flow.Limits.Referrers
	waiting, err := tx.Referrers(ctx, p.act.Repository(), subject, "", repo.Viewer{Quarantine: true}, repo.Page{Limit: limit})
	if errors.Is(err, repo.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	size := 0
	for i := range waiting {
		for k, v := range waiting[i].Annotations {
			size += len(k) + len(v)
		}
	}
	if len(waiting) >= limit || size > oci.MaxManifest { // by then the page may have ended
		return fmt.Errorf("%w: %d referrers wait for %s already, at most %d with %d bytes of annotations", ErrRefused, len(waiting), subject, limit, oci.MaxManifest)
	}
	return nil
}

// subject is what the evidence is about: the OCI subject, or the digest in the
// tag of cosign's old form.
func (p *putting) subject() (oci.Digest, bool) {
	if p.m.Subject != nil {
		return p.m.Subject.Digest, true
	}
	for _, t := range p.tags {
		if d, ok := repo.EvidenceTag(t); ok {
			return d, true
		}
	}
	return oci.Digest{}, false
}

// place puts the manifest into its repository, and what already speaks about it
// beside it.
func (p *putting) place(ctx context.Context, tx Tx) error {
	p.state, p.arrived, p.joined = repo.Held, false, nil
	switch {
	case p.zone.Sandbox:
		p.state = repo.Admitted
	case p.kind == oci.KindEvidence:
		p.state = repo.Attached
	}
	if err := p.placeIn(ctx, tx, p.act.Repository(), p.m.Digest, p.kind, p.state); err != nil {
		return err
	}
	if p.kind == oci.KindEvidence {
		return nil
	}
	who := p.act.Principal()
	err := tx.Arrive(ctx, p.m.Digest, evidence.Arrival{Repository: p.act.Repository(), By: who.Name(), Kind: who.Kind(), At: p.flow.Clock()})
	if err != nil || p.zone.Sandbox {
		return err
	}
	return p.join(ctx, tx)
}

// spreadIt puts evidence wherever its subject stands.
func (p *putting) spreadIt(ctx context.Context, tx Tx) error {
	if p.zone.Sandbox || p.kind != oci.KindEvidence || !p.beside {
		return nil
	}
	subject, _ := p.subject()
	return p.spread(ctx, tx, subject, p.m.Digest)
}

// join attaches what speaks about the manifest beside it. What came to this
// repository before its subject counts from now on, and so everywhere.
func (p *putting) join(ctx context.Context, tx Tx) error {
	referrers, err := tx.ReferrersOf(ctx, p.m.Digest)
	if err != nil {
		return err
	}
	for _, d := range referrers {
		_, err := tx.Lookup(ctx, p.act.Repository(), repo.Selector{Digest: d}, p.viewer)
		switch {
		case errors.Is(err, repo.ErrNotFound):
			err = p.placeIn(ctx, tx, p.act.Repository(), d, oci.KindEvidence, repo.Attached)
			if err == nil {
				err = repo.CarryTags(ctx, tx, p.act.Repository(), d)
			}
		case err == nil && p.arrived:
			p.joined = append(p.joined, d)
			err = p.spread(ctx, tx, p.m.Digest, d)
		}
		if err != nil {
			return err
		}
	}
	if len(p.joined) == 0 {
		return nil
	}
	return p.room(ctx, tx, p.m.Digest, referrers, 0)
}

// spread attaches evidence in every gated repository its subject stands in, with
// the tags that find it.
func (p *putting) spread(ctx context.Context, tx Tx, subject, evidence oci.Digest) error {
	placements, err := tx.Placements(ctx, subject)
	if err != nil {
		return err
	}
	for _, at := range placements {
		zone, err := p.flow.Zones.Of(at.Repository)
		if err != nil || zone.Sandbox || at.Repository == p.act.Repository() {
			continue // a repository whose zone is no longer configured is out of reach
		}
		if err := p.placeIn(ctx, tx, at.Repository, evidence, oci.KindEvidence, repo.Attached); err != nil {
			return err
		}
		if err := repo.CarryTags(ctx, tx, at.Repository, evidence); err != nil {
			return err
		}
	}
	return nil
}

// placeIn inserts a placement, or brings one back into the intake that was
// refused, withdrawn or removed. What is admitted stays as it is, but that in a
// quarantine it belongs to who brought it last.
func (p *putting) placeIn(ctx context.Context, tx Tx, r oci.Repository, d oci.Digest, kind oci.Kind, state repo.State) error {
	now, who := p.flow.Clock(), p.act.Principal().Name()
	placed, err := tx.Lookup(ctx, r, repo.Selector{Digest: d}, p.viewer)
	if errors.Is(err, repo.ErrNotFound) {
		at := repo.Placement{Repository: r, Digest: d, Kind: kind, State: state, BroughtBy: who, BroughtAt: now}
		if state == repo.Admitted {
			at.AdmittedAt = now
		}
		p.arrived = p.arrived || d == p.m.Digest && r == p.act.Repository()
		return tx.Place(ctx, &at)
	}
	if err != nil {
		return err
	}
	at := placed.Placement
	if d == p.m.Digest && r == p.act.Repository() && at.State != repo.Withdrawn && at.State != repo.Revoked {
		p.state = at.State
	}
	switch at.State {
	case repo.Withdrawn, repo.Revoked: // that it may stand nowhere was found before
		at.State, at.AdmittedAt = state, time.Time{}
		at.Decision, at.Sentence = 0, ""
	case repo.Held, repo.Denied:
	case repo.Admitted:
		if !p.zone.Quarantine() || r != p.act.Repository() {
			return nil
		}
	default:
		return nil
	}
	if at.BroughtBy == who && at.State == placed.State {
		return nil
	}
	// Whoever brought the same bytes again has shown that it holds them.
	at.BroughtBy, at.BroughtAt = who, now
	return tx.Place(ctx, &at)
}

// setTags moves tags at once in a sandbox and for evidence; elsewhere they
// wait until the manifest is let in under them.
func (p *putting) setTags(ctx context.Context, tx Tx) error {
	r, d := p.act.Repository(), p.m.Digest
	if !p.zone.Sandbox && p.kind != oci.KindEvidence {
		return p.noteTags(ctx, tx)
	}
	for _, tag := range p.tags {
		if err := p.checkEvidenceTag(ctx, tx, tag); err != nil {
			return err
		}
		if _, err := tx.SetTag(ctx, r, tag, d); err != nil {
			return err
		}
	}
	return nil
}

// checkEvidenceTag: evidence is not judged, so it must not take over a tag by
// which somebody pulls something that was.
func (p *putting) checkEvidenceTag(ctx context.Context, tx Tx, tag string) error {
	if p.zone.Sandbox {
		return nil
	}
	if _, ok := repo.EvidenceTag(tag); ok {
		return nil
	}
	placed, err := tx.Lookup(ctx, p.act.Repository(), repo.Selector{Tag: tag}, p.viewer)
	if errors.Is(err, repo.ErrNotFound) || err == nil && placed.Manifest.Kind == oci.KindEvidence {
		return p.act.Permits(p.act.Repository(), authz.Push)
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: tag %s names something that is no evidence; evidence cannot take its place", ErrRefused, tag)
}

// enqueue asks for the decision about what came, and for evidence to be verified,
// which has decided again whatever it counts for.
func (p *putting) enqueue(ctx context.Context, tx Tx) error {
	if p.zone.Sandbox {
		return nil
	}
	who, now := p.act.Principal().Name(), p.flow.Clock()
	if p.kind == oci.KindEvidence {
		subject, ok := p.subject()
		if !ok || !p.beside {
			return nil
		}
		return tx.EnqueueFor(ctx, who, JobEvidence, EvidenceKey(subject, p.m.Digest), now)
	}
	for _, d := range p.joined {
		if err := tx.EnqueueFor(ctx, who, JobEvidence, EvidenceKey(p.m.Digest, d), now); err != nil {
			return err
		}
	}
	return tx.EnqueueFor(ctx, who, JobJudge, JudgeKey(p.act.Repository(), p.m.Digest), now)
}

// JudgeKey is the key of the job that decides d in r.
func JudgeKey(r oci.Repository, d oci.Digest) string { return r.String() + "@" + d.String() }

// EvidenceKey is the key of the job that verifies what evidence says of subject.
func EvidenceKey(subject, evidence oci.Digest) string {
	return subject.String() + " " + evidence.String()
}
