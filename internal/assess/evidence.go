package assess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/verify"
)

// JobEvidence is the kind of job that verifies evidence which arrived; its key
// is "subject referrer", two digests. What verifies has its subject judged again,
// and what does not changes nothing.
const JobEvidence = "evidence"

// Trusted is what evidence is verified by, as it is at one moment.
type Trusted struct {
	Verifier *verify.Verifier
	Anchors  []policy.Anchor // those of Verifier, with why one cannot be asked
	Digest   string          // of the anchors and of how statements are read
}

// Checked is what came of verifying one referrer. Both lists are empty where it
// carries no envelope.
type Checked struct {
	Signatures []evidence.Signature `json:"signatures,omitempty"`
	Refusals   []evidence.Refusal   `json:"refusals,omitempty"`
}

// EvidenceRow is what came of verifying one referrer about one subject, as it is
// kept.
type EvidenceRow struct {
	ID       int64 // grows with each row; it counted from this number on
	Ended    int64 // number of the row that took its place; 0 while it counts
	Subject  oci.Digest
	Referrer oci.Digest
	Verifier string    // Digest of the Trusted that it was verified by
	At       time.Time // when
	Until    time.Time // when it must be verified again, because certificates end; zero for never
	Checked  Checked
}

// SignedBy asks who signed. Fields that are given must all match, exactly; one at
// least is given. From is inclusive and Until is not; zero leaves a side open.
type SignedBy struct {
	Issuer, Subject, Key, Builder string
	From, Until                   time.Time
}

// MaxEvidence bounds what is read at once of what was said of one subject, in
// bytes of JSON.
const MaxEvidence = 64 << 20

// Beyond takes the place of what is over MaxEvidence: nobody can tell what it says.
func Beyond(referrer oci.Digest) Checked {
	return Checked{Refusals: []evidence.Refusal{{Referrer: referrer, Unsure: true, Reasons: []string{
		fmt.Sprintf("more than %d bytes are said of the same digest, and this is among the longest of it", MaxEvidence)}}}}
}

// EvidenceRows keeps what came of verifying, so that judging does not verify
// again, and so that all that somebody signed can be found. Rows are never
// changed but for Ended.
type EvidenceRows interface {
	// EvidenceAbout returns the rows about d that count, by referrer. Of those that
	// together have more than MaxEvidence bytes, the largest are in doubt.
	EvidenceAbout(ctx context.Context, d oci.Digest) ([]EvidenceRow, error)
	// PutEvidence stores a row, ends the one that counted for the same subject and
	// referrer, and returns its number.
	PutEvidence(ctx context.Context, row *EvidenceRow) (int64, error)
	// PutTrusted notes by what evidence is verified from now on and returns by what
	// it was before, "" for nothing.
	PutTrusted(ctx context.Context, digest string) (before string, err error)
	// EvidenceBy returns rows, ended ones too, with a signature by who, in order of
	// their numbers after the one given. The time that counts is that of signing
	// where one is proven, else of verifying. Names of more than 512 bytes are
	// found by their beginning.
	EvidenceBy(ctx context.Context, who SignedBy, after int64, limit int) ([]EvidenceRow, error)
}

// Limits of evidence.
const (
	// maxEnvelopes bounds what is read of one referrer, in bytes.
	maxEnvelopes = 2 * verify.MaxEnvelope
	// maxPredicates bounds the predicates that gates see of one subject, in bytes.
	// Those beyond are left out, and their facts stay.
	maxPredicates = 32 << 20
	// keptPredicates and keptFacts bound what is kept of one referrer, in bytes.
	keptPredicates = 256 << 10
	keptFacts      = 4 << 20
	// certificatesFor is how long a check by certificates that end is relied on.
	certificatesFor = time.Hour
	// absentFor is how long it is taken for so that content is not in the store.
	absentFor = 10 * time.Minute
)

// trusted returns what evidence is verified by now; nil where there is nothing.
func (a *Assessor) trusted() *Trusted {
	if a.Trusted == nil {
		return nil
	}
	return a.Trusted()
}

// digest names t in a verdict.
func (t *Trusted) digest() string {
	if t == nil {
		return ""
	}
	return t.Digest
}

// known is what is known of the evidence about one digest.
type known struct {
	verified   policy.Verified
	refused    []evidence.Refusal
	predicates int   // bytes of those that are kept
	lent       int64 // bytes of the predicates that indexes lend
}

// evidenceAbout returns what referrers say of subject by t, verifying those that
// nobody has verified by it.
func (a *Assessor) evidenceAbout(ctx context.Context, t *Trusted, subject oci.Descriptor, referrers []oci.Digest) (*known, error) {
	if t == nil || len(referrers) == 0 {
		k := &known{}
		if t != nil {
			k.verified.Anchors, k.verified.Digest = t.Anchors, t.Digest
		}
		return k, nil
	}
	rows, err := view(ctx, a.DB, func(tx Tx) ([]EvidenceRow, error) { return tx.EvidenceAbout(ctx, subject.Digest) })
	if err != nil {
		return nil, err
	}
	before := make(map[oci.Digest]*EvidenceRow, len(rows))
	for i := range rows {
		before[rows[i].Referrer] = &rows[i]
	}
	var all, fresh []*EvidenceRow
	for _, d := range referrers {
		row := before[d]
		if row == nil || row.Verifier != t.Digest || !row.Until.IsZero() && !a.Clock().Before(row.Until) {
			if row, err = a.verify(ctx, t, subject, d); err != nil {
				return nil, fmt.Errorf("verifying %s about %s: %w", d, subject.Digest, err)
			}
			fresh = append(fresh, row)
		}
		all = append(all, row)
	}
	if err := a.keep(ctx, fresh, before); err != nil {
		return nil, err
	}
	return together(t, all), nil
}

// verify verifies one referrer.
func (a *Assessor) verify(ctx context.Context, t *Trusted, subject oci.Descriptor, referrer oci.Digest) (*EvidenceRow, error) {
	row := &EvidenceRow{Subject: subject.Digest, Referrer: referrer, Verifier: t.Digest, At: a.Clock()}
	stored, err := view(ctx, a.DB, func(tx Tx) (*repo.Manifest, error) { return tx.Stored(ctx, referrer) })
	if err != nil {
		return nil, err
	}
	m, err := oci.ParseManifest(stored.Raw, stored.MediaType, referrer.Algorithm())
	if err != nil {
		return nil, err
	}
	if !verify.IsEnvelope(m) {
		return row, nil
	}
	layers, absent, err := a.layers(ctx, m)
	if err != nil {
		return nil, err
	}
	result := t.Verifier.Check(ctx, subject, verify.Referrer{Manifest: m, Layers: layers})
	if err := ctx.Err(); err != nil {
		return nil, err // what was not checked in time is no answer
	}
	row.Checked = Checked{result.Signatures, result.Refusals}
	row.Checked.bound(referrer)
	switch {
	case absent:
		row.Until = row.At.Add(absentFor)
	case row.Checked.ends():
		row.Until = row.At.Add(certificatesFor)
	}
	return row, nil
}

// bound leaves out what is more than is kept of one referrer: predicates first,
// which expressions then cannot read, and else whole statements, which then are
// in doubt. Whoever may attach evidence to an image could fill it with them.
func (c *Checked) bound(referrer oci.Digest) {
	predicates, said := 0, 0
	kept := c.Signatures[:0:0]
	over := false
	for _, sig := range c.Signatures {
		if sig.Statement == nil {
			kept = append(kept, sig)
			continue
		}
		short := *sig.Statement
		if predicates += len(short.Predicate); predicates > keptPredicates {
			short.Predicate = nil
		}
		facts := short
		facts.Predicate = nil
		raw, err := json.Marshal(&facts)
		if said += len(raw); err != nil || said > keptFacts {
			over = true
			continue
		}
		sig.Statement = &short
		kept = append(kept, sig)
	}
	if c.Signatures = kept; over {
		why := fmt.Sprintf("its statements say more than the %d bytes that are kept of one referrer; attach them one by one, or shorter", keptFacts)
		c.Refusals = append(c.Refusals, evidence.Refusal{Referrer: referrer, Reasons: []string{why}, Unsure: true})
	}
}

// ends reports whether the answer depends on the hour, as that of Notary
// Project's signatures does.
func (c *Checked) ends() bool {
	return slices.ContainsFunc(c.Signatures, func(s evidence.Signature) bool { return s.Form == evidence.FormNotation }) ||
		slices.ContainsFunc(c.Refusals, func(r evidence.Refusal) bool { return r.Form == evidence.FormNotation })
}

// layers reads the layers of a referrer, as far as maxEnvelopes goes; nil stands
// for what was not read. absent: one is not in the store.
func (a *Assessor) layers(ctx context.Context, m *oci.Manifest) (layers [][]byte, absent bool, err error) {
	left := int64(maxEnvelopes)
	layers = make([][]byte, len(m.Layers))
	for i, d := range m.Layers {
		if i == verify.MaxLayers || d.Size > min(left, verify.MaxEnvelope) {
			continue
		}
		left -= d.Size
		layers[i], err = a.content(ctx, d)
		switch {
		case errors.Is(err, blob.ErrNotFound):
			absent = true
		case err != nil:
			return nil, false, err
		}
	}
	return layers, absent, nil
}

func (a *Assessor) content(ctx context.Context, d oci.Descriptor) ([]byte, error) {
	r, err := a.Blobs.Open(ctx, d.Digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, d.Size))
}

// keep stores new rows, and tells of those that say something else than before.
func (a *Assessor) keep(ctx context.Context, fresh []*EvidenceRow, before map[oci.Digest]*EvidenceRow) error {
	if len(fresh) == 0 {
		return nil
	}
	var events []audit.Event
	for _, row := range fresh {
		was := 0
		if old := before[row.Referrer]; old != nil {
			was = len(old.Checked.Signatures)
		}
		ev, err := a.evidenceEvent(row, was)
		if err != nil {
			return err
		}
		events = append(events, ev...)
	}
	return a.DB.Update(ctx, func(tx Tx) error {
		for _, row := range fresh {
			if _, err := tx.PutEvidence(ctx, row); err != nil {
				return err
			}
		}
		for _, ev := range events {
			if err := tx.Append(ctx, ev); err != nil {
				return err
			}
		}
		return nil
	})
}

// evidenceEvent is the event of evidence that counts from now on, or no more. That
// of what was refused is none: it changes nothing.
func (a *Assessor) evidenceEvent(row *EvidenceRow, was int) ([]audit.Event, error) {
	now := len(row.Checked.Signatures)
	kind := "evidence.verified"
	switch {
	case (was > 0) == (now > 0):
		return nil, nil
	case now == 0:
		kind = "evidence.lapsed"
	}
	ev, err := a.event(kind)
	if err != nil {
		return nil, err
	}
	ev = ev.On(oci.Repository{}, row.Subject).With("referrer", row.Referrer.String()).With("anchors", row.Verifier)
	for i, sig := range row.Checked.Signatures {
		n := strconv.Itoa(i)
		ev = ev.With("by."+n, sig.Identity.String()).With("anchor."+n, sig.Anchor)
	}
	return []audit.Event{ev}, nil
}

// together is what all rows say.
func together(t *Trusted, rows []*EvidenceRow) *known {
	k := &known{verified: policy.Verified{Anchors: t.Anchors, Digest: t.Digest}}
	for _, row := range rows {
		k.verified.Until = earlier(k.verified.Until, row.Until)
		k.add(row.Checked.Signatures)
		for _, r := range row.Checked.Refusals {
			k.refused = append(k.refused, r)
			if r.Unsure {
				k.verified.Unsure = append(k.verified.Unsure, r)
			}
		}
	}
	return k
}

// add takes signatures in, with their predicates as far as there is room.
func (k *known) add(sigs []evidence.Signature) {
	for _, sig := range sigs {
		if st := sig.Statement; st != nil {
			if k.predicates += len(st.Predicate); k.predicates > maxPredicates && st.Predicate != nil {
				short := *st
				short.Predicate, sig.Statement = nil, &short
			}
		}
		k.verified.Signatures = append(k.verified.Signatures, sig)
	}
}

// EvidenceKey is the key of the job that verifies what referrer says of subject.
func EvidenceKey(subject, referrer oci.Digest) string {
	return subject.String() + " " + referrer.String()
}

// HandleEvidence is the handler of JobEvidence.
func (a *Assessor) HandleEvidence(ctx context.Context, j job.Job) error {
	first, second, _ := strings.Cut(j.Key, " ")
	subject, err := oci.ParseDigest(first)
	if err != nil {
		return fmt.Errorf("reading job key %q: %v", j.Key, err)
	}
	referrer, err := oci.ParseDigest(second)
	if err != nil {
		return fmt.Errorf("reading job key %q: %v", j.Key, err)
	}
	said, err := a.say(ctx, subject, referrer)
	if err != nil || len(said.verified.Signatures) == 0 {
		return ignoreGone(err)
	}
	vouches := slices.ContainsFunc(said.verified.Signatures, func(s evidence.Signature) bool { return s.Vouches() })
	return a.DB.Update(ctx, func(tx Tx) error {
		by, err := broughtBy(ctx, tx, referrer)
		if err != nil {
			return err
		}
		about := []oci.Digest{subject}
		if vouches {
			if about, err = repo.WithChildren(ctx, tx, subject); err != nil {
				return err
			}
		}
		for _, d := range about {
			if err := a.judgeAll(ctx, tx, by, d); err != nil {
				return err
			}
		}
		return nil
	})
}

// judgeAll has d judged wherever it stands, in the turn of by. Evidence among it
// is judged by nobody.
func (a *Assessor) judgeAll(ctx context.Context, tx Tx, by string, d oci.Digest) error {
	placements, err := tx.Placements(ctx, d)
	if err != nil {
		return err
	}
	for _, p := range placements {
		if p.Kind == oci.KindEvidence {
			continue
		}
		if err := tx.EnqueueFor(ctx, by, JobJudge, judgeKey(p.Repository, d), a.Clock()); err != nil {
			return err
		}
	}
	return nil
}

// broughtBy is who brought evidence last: what comes of it is done in its turn.
func broughtBy(ctx context.Context, tx Tx, d oci.Digest) (string, error) {
	placements, err := tx.Placements(ctx, d)
	by, last := judge, time.Time{}
	for _, p := range placements {
		if p.BroughtAt.After(last) {
			by, last = p.BroughtBy, p.BroughtAt
		}
	}
	return by, err
}

// say returns what one referrer says of a subject that is stored.
func (a *Assessor) say(ctx context.Context, subject oci.Digest, referrers ...oci.Digest) (*known, error) {
	stored, err := view(ctx, a.DB, func(tx Tx) (*repo.Manifest, error) { return tx.Stored(ctx, subject) })
	if err != nil {
		return nil, err
	}
	return a.evidenceAbout(ctx, a.trusted(), describeManifest(stored), referrers)
}

// describeManifest is what signatures of a manifest are over.
func describeManifest(m *repo.Manifest) oci.Descriptor {
	return oci.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Raw))}
}

// checkGates returns an error for a gate that names an anchor which is not
// there, or somebody whom its anchor cannot name.
func checkGates(gates map[string]*policy.Gate, kinds map[string]verify.Kind) error {
	for name, g := range gates {
		for _, who := range g.Signers() {
			kind, ok := kinds[who.Anchor]
			switch {
			case !ok:
				return fmt.Errorf("gate %s names anchor %s, which is not configured; describe it under anchors in the configuration, or name one that is there", name, oci.Quote(who.Anchor))
			case kind != verify.KindKey && who.Subject.IsZero():
				return fmt.Errorf("gate %s names nobody of anchor %s, which takes certificates of many; give a subject", name, who.Anchor)
			case (kind == verify.KindSigstore || kind == verify.KindGitHub) && who.Issuer.IsZero():
				return fmt.Errorf("gate %s names %s of anchor %s and no issuer: whoever vouches for the name must be named too", name, oci.Quote(who.Subject.String()), who.Anchor)
			}
		}
	}
	return nil
}

// Retrust puts the anchors of this process in force. Where evidence was verified
// by others before, whatever evidence has a part in is judged again. It is called
// when a process starts to decide, and when its anchors change: among several with
// different ones, the last counts.
func (a *Assessor) Retrust(ctx context.Context) error {
	digest := a.trusted().digest()
	ev, err := a.event("anchors.changed")
	if err != nil || digest == "" {
		return err
	}
	return a.DB.Update(ctx, func(tx Tx) error {
		before, err := tx.PutTrusted(ctx, digest)
		if err != nil || before == digest {
			return err
		}
		changed := ev.With("anchors", digest)
		if before != "" {
			changed = changed.With("before", before)
		}
		if err := tx.Append(ctx, changed); err != nil {
			return err
		}
		for _, name := range a.Zones.Names() {
			zone := a.Zones[name]
			if g := a.Gates[zone.Gate]; g == nil || len(g.Signers()) == 0 {
				continue
			}
			if err := tx.Enqueue(ctx, JobGate, name, a.Clock()); err != nil {
				return err
			}
		}
		return nil
	})
}
