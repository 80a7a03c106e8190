package custody

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/verify"
)

// gathering is a file while it is made.
type gathering struct {
	*Flow
	file    *api.Custody
	digest  oci.Digest
	act     authz.Act
	covers  map[string]oci.Repository // whose events and decisions are told
	stands  []oci.Repository          // of those, where it stands now
	entries []audit.Entry
	batches map[int64]*api.Batch
	signed  []api.CustodyStep
	room    int64 // bytes of content that are still taken
	log     *slog.Logger
}

func (g *gathering) leaveOut(format string, operands ...any) {
	text := fmt.Sprintf(format, operands...)
	if !slices.Contains(g.file.LeftOut, text) {
		g.file.LeftOut = append(g.file.LeftOut, text)
	}
}

// begin finds the digest, and the repositories in which who may ask about it.
func (f *Flow) begin(ctx context.Context, who Asker, ref oci.Reference) (*gathering, error) {
	g := &gathering{Flow: f, digest: ref.Digest, covers: map[string]oci.Repository{}, batches: map[int64]*api.Batch{}, room: maxContents, log: slog.New(slog.DiscardHandler)}
	var placements []repo.Placement
	err := f.View(ctx, func(tx Tx) error {
		if !ref.Repository.IsZero() {
			v, ok := who.Sight(ref.Repository)
			if !ok {
				return fmt.Errorf("%s: %w", ref, repo.ErrNotFound)
			}
			placed, err := tx.Lookup(ctx, ref.Repository, repo.Selector{Tag: ref.Tag, Digest: ref.Digest}, v)
			if err != nil {
				return err
			}
			if !v.Visible(&placed.Placement) && placed.State != repo.Revoked {
				return fmt.Errorf("%s: %w", ref, repo.ErrNotFound)
			}
			g.digest = placed.Manifest.Digest
		}
		if _, err := tx.Stored(ctx, g.digest); errors.Is(err, repo.ErrNotFound) {
			return g.nowhere()
		} else if err != nil {
			return err
		}
		var err error
		placements, err = tx.Placements(ctx, g.digest)
		return err
	})
	if err != nil {
		return nil, err
	}
	if g.entries, err = f.Rows.Latest(ctx, audit.Filter{Digest: g.digest.String()}, maxListed); err != nil {
		return nil, err
	}
	if err := g.cover(who, placements); err != nil {
		return nil, err
	}
	g.file = &api.Custody{
		Version: api.CustodyVersion, Digest: g.digest.String(), Server: f.URL, At: f.Clock().UTC(), By: g.act.Principal().Name(),
		Repositories: slices.Sorted(maps.Keys(g.covers)), LeftOut: []string{},
		Deployments: api.CustodyPart{Text: "not recorded: this server does not know where it runs"},
	}
	return g, nil
}

// cover asks for leave in each repository where the digest stands, or has stood. Of
// what stands out of sight, whoever has none is not told that it is there.
func (g *gathering) cover(who Asker, placements []repo.Placement) error {
	var refused error
	permit := func(r oci.Repository) error {
		act, err := who.Permit(r)
		if err == nil {
			g.act, g.covers[r.String()] = act, r
		}
		return err
	}
	for _, at := range placements {
		err := permit(at.Repository)
		if err == nil {
			g.stands = append(g.stands, at.Repository)
			continue
		}
		if v, ok := who.Sight(at.Repository); ok && (v.Visible(&at) || at.State == repo.Revoked) {
			refused = err
		}
	}
	asked := map[string]bool{}
	for _, e := range g.entries {
		name := repositoryOf(e.Bytes)
		r, err := oci.ParseRepository(name)
		if err == nil && !asked[name] && g.covers[name].IsZero() {
			asked[name] = true
			_ = permit(r) // without leave, nothing of it is told
		}
	}
	if len(g.covers) == 0 {
		return cmp.Or(refused, g.nowhere())
	}
	return nil
}

// nowhere is said of what is not there and of what who asks may not know of.
func (g *gathering) nowhere() error {
	return fmt.Errorf("no manifest %s stands, or has stood, where you may ask: %w", g.digest, repo.ErrNotFound)
}

func repositoryOf(event []byte) string {
	var e struct {
		Repository string `json:"repository"`
	}
	if json.Unmarshal(event, &e) != nil {
		return "?" // is no repository
	}
	return e.Repository
}

// gather reads all that there is; proof gives the proof of a decision.
func (g *gathering) gather(ctx context.Context, proof func(context.Context, int64) (*api.Proof, error)) error {
	var err error
	if g.entries, err = g.Rows.Latest(ctx, audit.Filter{Digest: g.digest.String()}, maxListed); err != nil {
		return err
	}
	if len(g.entries) == maxListed {
		g.leaveOut("events that are older than the newest %d", maxListed)
	}
	slices.Reverse(g.entries)
	for _, e := range g.entries {
		name := repositoryOf(e.Bytes)
		if _, ok := g.covers[name]; !ok && name != "" {
			continue
		}
		g.file.Events = append(g.file.Events, api.CustodyEvent{Seq: e.Seq, Event: e.Bytes})
		var read audit.Event
		if err := json.Unmarshal(e.Bytes, &read); err != nil {
			return fmt.Errorf("reading event %d: %v", e.Seq, err)
		}
		tellEvent(g.file, e.Seq, read.Kind)
	}
	about, err := g.subject(ctx)
	if err != nil {
		return err
	}
	for _, desc := range about {
		if err := g.evidence(ctx, desc, false); err != nil {
			return err
		}
	}
	for _, c := range g.file.Subject.Indexes {
		if err := g.lent(ctx, &c); err != nil {
			return err
		}
	}
	if err := g.attached(ctx, about); err != nil {
		return err
	}
	if err := g.decisions(ctx, proof); err != nil {
		return err
	}
	return g.revocations(ctx, about)
}

// content reads what is stored of a descriptor, as far as there is room.
func (g *gathering) content(ctx context.Context, d oci.Digest, mediaType string, size int64) (api.CustodyContent, error) {
	c := api.CustodyContent{Digest: d.String(), MediaType: mediaType, Size: size}
	switch {
	case size > maxContent:
		c.LeftOut = fmt.Sprintf("it has %d bytes, and a file takes %d of one content", size, maxContent)
		return c, nil
	case size > g.room:
		c.LeftOut = fmt.Sprintf("a file takes %d bytes of content, and they are used up", maxContents)
		return c, nil
	}
	open, err := g.Blobs.Open(ctx, d)
	if errors.Is(err, blob.ErrNotFound) {
		c.LeftOut = "it is not stored here"
		return c, nil
	}
	if err != nil {
		return c, err
	}
	defer func() { _ = open.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(open, size+1))
	if err != nil {
		return c, fmt.Errorf("reading %s: %w", d, err)
	}
	c.Bytes, c.Size = b, int64(len(b))
	if c.Size == 0 {
		c.Bytes = nil
	}
	g.room -= c.Size
	return c, nil
}

// stored is a manifest as content of the file.
func (g *gathering) stored(m *repo.Manifest) api.CustodyContent {
	g.room -= int64(len(m.Raw))
	return api.CustodyContent{Digest: m.Digest.String(), MediaType: m.MediaType, Size: int64(len(m.Raw)), Bytes: m.Raw}
}

// subject reads the manifest, its children and the indexes that name it, and
// returns what evidence may be about.
func (g *gathering) subject(ctx context.Context) ([]oci.Descriptor, error) {
	about := []oci.Descriptor{}
	s := &g.file.Subject
	err := g.View(ctx, func(tx Tx) error {
		*s, about = api.CustodySubject{Children: []api.CustodyContent{}, Indexes: []api.CustodyContent{}}, about[:0]
		m, err := tx.Stored(ctx, g.digest)
		if err != nil {
			return err
		}
		s.Manifest = g.stored(m)
		about = append(about, oci.Descriptor{Digest: m.Digest, MediaType: m.MediaType, Size: int64(len(m.Raw))})
		for _, ref := range m.References {
			if ref.Role != repo.RoleChild || slices.ContainsFunc(about, func(d oci.Descriptor) bool { return d.Digest == ref.Digest }) || len(s.Children) == maxChildren {
				continue
			}
			about = append(about, oci.Descriptor{Digest: ref.Digest, MediaType: ref.MediaType, Size: ref.Size})
			child, err := tx.Stored(ctx, ref.Digest)
			if errors.Is(err, repo.ErrNotFound) {
				s.Children = append(s.Children, api.CustodyContent{Digest: ref.Digest.String(), MediaType: ref.MediaType, Size: ref.Size, LeftOut: "it is not stored here"})
				continue
			}
			if err != nil {
				return err
			}
			s.Children = append(s.Children, g.stored(child))
		}
		return g.indexes(ctx, tx, s)
	})
	return about, err
}

// indexes adds those that name it, the nearest first, also through indexes that
// they name, as far as they stand where the file covers.
func (g *gathering) indexes(ctx context.Context, tx Tx, s *api.CustodySubject) error {
	found, more, err := repo.Ancestors(ctx, tx, g.digest, maxChildren)
	if err != nil {
		return err
	}
	if more {
		g.leaveOut("indexes that name it beyond the first %d", maxChildren)
	}
	for _, d := range found {
		if ok, err := g.covered(ctx, tx, d); err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		m, err := tx.Stored(ctx, d)
		if err != nil {
			return err
		}
		s.Indexes = append(s.Indexes, g.stored(m))
	}
	return nil
}

// covered reports whether d stands in a repository that the file covers.
func (g *gathering) covered(ctx context.Context, tx Tx, d oci.Digest) (bool, error) {
	at, err := tx.Placements(ctx, d)
	return slices.ContainsFunc(at, func(p repo.Placement) bool { return !g.covers[p.Repository.String()].IsZero() }), err
}

// lent reads what was said of an index that names the digest: who signed that has
// vouched for what it lists.
func (g *gathering) lent(ctx context.Context, index *api.CustodyContent) error {
	d, err := oci.ParseDigest(index.Digest)
	if err != nil {
		return err
	}
	return g.evidence(ctx, oci.Descriptor{Digest: d, MediaType: index.MediaType, Size: index.Size}, true)
}

// attached reads what BuildKit put, unsigned, beside what the file is about, in
// the indexes that it has.
func (g *gathering) attached(ctx context.Context, about []oci.Descriptor) error {
	for _, c := range append([]api.CustodyContent{g.file.Subject.Manifest}, g.file.Subject.Indexes...) {
		m, err := manifestOf(&c)
		if err != nil {
			return fmt.Errorf("reading %s: %w", c.Digest, err)
		}
		for _, at := range attest.AttachedIn(m) {
			i := slices.IndexFunc(about, func(d oci.Descriptor) bool { return d.Digest == at.About.Digest })
			if i < 0 {
				continue
			}
			if err := g.beside(ctx, about[i], at.Manifest.Digest); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *gathering) beside(ctx context.Context, about oci.Descriptor, d oci.Digest) error {
	var stored *repo.Manifest
	err := g.View(ctx, func(tx Tx) error {
		ok, err := g.covered(ctx, tx, d)
		if err == nil && ok {
			stored, err = tx.Stored(ctx, d)
		}
		return err
	})
	if err != nil || stored == nil {
		return err
	}
	return g.referrer(ctx, about, stored, false)
}

// evidence reads the referrers of a digest that are in the repositories that the
// file covers, and verifies them by the anchors of the server. lent: it is an
// index that names what the file is about.
func (g *gathering) evidence(ctx context.Context, about oci.Descriptor, lent bool) error {
	var manifests []*repo.Manifest
	err := g.View(ctx, func(tx Tx) error {
		manifests = manifests[:0]
		digests, err := g.referrers(ctx, tx, about.Digest, lent)
		for _, d := range digests {
			m, serr := tx.Stored(ctx, d)
			if serr != nil && !errors.Is(serr, repo.ErrNotFound) {
				return serr
			}
			if serr == nil {
				manifests = append(manifests, m)
			}
		}
		return err
	})
	for _, m := range manifests {
		if err == nil {
			err = g.referrer(ctx, about, m, lent)
		}
	}
	return err
}

// referrers finds what refers to a digest. Of an index that lends it is what a
// gate looks at, and not what the server has made or shows of the index.
func (g *gathering) referrers(ctx context.Context, tx Tx, about oci.Digest, lent bool) ([]oci.Digest, error) {
	known := map[oci.Digest]bool{}
	all, err := tx.ReferrersOf(ctx, about)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if known[d], err = g.covered(ctx, tx, d); err != nil {
			return nil, err
		}
	}
	for _, r := range g.covers {
		if lent {
			break
		}
		made, err := tx.MadeAbout(ctx, r, about, maxEvidence)
		if err != nil {
			return nil, err
		}
		for _, d := range made {
			known[d] = true
		}
		page, err := tx.Referrers(ctx, r, about, "", repo.Viewer{Quarantine: true}, repo.Page{Limit: maxEvidence})
		if err != nil && !errors.Is(err, repo.ErrNotFound) {
			return nil, err
		}
		for _, desc := range page {
			known[desc.Digest] = true
		}
	}
	maps.DeleteFunc(known, func(_ oci.Digest, covered bool) bool { return !covered })
	return slices.SortedFunc(maps.Keys(known), func(a, b oci.Digest) int { return cmp.Compare(a.String(), b.String()) }), nil
}

func (g *gathering) referrer(ctx context.Context, about oci.Descriptor, m *repo.Manifest, lent bool) error {
	if slices.ContainsFunc(g.file.Evidence, func(e api.CustodyEvidence) bool { return e.Manifest.Digest == m.Digest.String() }) {
		return nil
	}
	if len(g.file.Evidence) == maxEvidence {
		g.leaveOut("referrers beyond the first %d", maxEvidence)
		return nil
	}
	e := api.CustodyEvidence{About: about.Digest.String(), Manifest: g.stored(m), Layers: []api.CustodyContent{}}
	parsed, err := oci.ParseManifest(m.Raw, m.MediaType, m.Digest.Algorithm())
	if err != nil {
		return fmt.Errorf("reading referrer %s: %w", m.Digest, err)
	}
	ref := verify.Referrer{Manifest: parsed}
	for _, l := range parsed.Layers {
		c, err := g.content(ctx, l.Digest, l.MediaType, l.Size)
		if err != nil {
			return err
		}
		e.Layers, ref.Layers = append(e.Layers, c), append(ref.Layers, c.Bytes)
	}
	g.file.Evidence = append(g.file.Evidence, e)
	found := g.Verifier().Check(ctx, about, ref)
	if lent {
		found.Signatures = evidence.Lent(about.Digest, found.Signatures)
	}
	tell(g.file, found, serverOf(g.URL))
	for _, sig := range found.Signatures {
		g.signed = append(g.signed, api.CustodyStep{At: sig.At, What: signedWhat(&sig), Who: sig.Identity.String(), ProvenBy: "signature, anchor " + sig.Anchor})
	}
	return nil
}

func (g *gathering) decisions(ctx context.Context, proof func(context.Context, int64) (*api.Proof, error)) error {
	var ids []int64
	err := g.View(ctx, func(tx Tx) error {
		ids = ids[:0]
		for _, r := range g.covers {
			some, err := tx.DecisionsOf(ctx, r, g.digest, maxListed)
			if err != nil {
				return err
			}
			ids = append(ids, some...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(ids)
	if n := len(ids) - maxListed; n > 0 {
		ids = ids[n:]
		g.leaveOut("decisions that are older than the newest %d", maxListed)
	}
	g.file.Decisions = []api.CustodyDecision{}
	for _, id := range ids {
		p, err := proof(ctx, id)
		if err != nil {
			return err
		}
		d := api.CustodyDecision{Decision: id, Payload: p.Payload, Index: p.Index, Path: p.Path, Text: p.Text}
		if p.Proven {
			d.Batch, g.batches[p.Batch.Number] = p.Batch.Number, p.Batch
		} else if err := g.View(ctx, func(tx Tx) (err error) { d.Payload, _, err = tx.Payload(ctx, id); return err }); err != nil {
			return err
		}
		g.file.Decisions = append(g.file.Decisions, d)
	}
	return nil
}

// revocations finds those of the digest or a child, and those that events about
// it name.
func (g *gathering) revocations(ctx context.Context, about []oci.Descriptor) error {
	named := map[int64]bool{}
	for _, e := range g.file.Events {
		var read audit.Event
		if json.Unmarshal(e.Event, &read) == nil {
			id, _ := strconv.ParseInt(read.Details["revocation"], 10, 64)
			named[id] = true
		}
	}
	g.file.Revocations = []api.CustodyRevocation{}
	for before := int64(0); len(g.file.Revocations) < maxListed; {
		page, err := g.Revocations.List(ctx, before, 1000)
		if err != nil {
			return err
		}
		for _, r := range page {
			if named[r.ID] || r.Digest != "" && slices.ContainsFunc(about, func(d oci.Descriptor) bool { return d.Digest.String() == r.Digest }) {
				g.file.Revocations = append(g.file.Revocations, api.CustodyRevocation{Revocation: r})
			}
		}
		if len(page) < 1000 {
			break
		}
		before = page[len(page)-1].ID
	}
	slices.Reverse(g.file.Revocations)
	return g.revoked(ctx)
}

// revoked finds the events that made and lifted revocations.
func (g *gathering) revoked(ctx context.Context) error {
	if len(g.file.Revocations) == 0 {
		return nil
	}
	for _, kind := range []string{"revocation.made", "revocation.lifted"} {
		entries, err := g.Rows.Latest(ctx, audit.Filter{Kind: kind}, maxListed)
		if err != nil {
			return err
		}
		for _, e := range entries {
			var read audit.Event
			if json.Unmarshal(e.Bytes, &read) != nil {
				continue
			}
			for i := range g.file.Revocations {
				r := &g.file.Revocations[i]
				if read.Details["revocation"] != strconv.FormatInt(r.Revocation.ID, 10) {
					continue
				}
				if event := (&api.CustodyEvent{Seq: e.Seq, Event: e.Bytes}); kind == "revocation.made" {
					r.Made = event
				} else {
					r.Lifted = event
				}
			}
		}
	}
	return nil
}

// prove adds what proves events and states, and the batches.
func (g *gathering) prove(ctx context.Context) error {
	root, err := g.Root()
	if err != nil {
		return err
	}
	own := verify.Anchor{Name: OwnAnchor, Kind: verify.KindSigstore, Roots: [][]byte{root}}
	b, err := openBatch(own, serverOf(g.URL), &api.CustodyBatch{Number: g.file.Audit, Bundle: g.batches[g.file.Audit].Bundle})
	if err != nil || b.audit == nil {
		return fmt.Errorf("reading batch %d: %w: %v", g.file.Audit, ErrNoProof, err)
	}
	// What came after the head is of the next file.
	g.file.Events = slices.DeleteFunc(g.file.Events, func(e api.CustodyEvent) bool { return e.Seq > b.audit.Size })
	for _, p := range partsOf(g.file) {
		p.Events = slices.DeleteFunc(p.Events, func(seq int64) bool { return seq > b.audit.Size })
	}
	for i := range g.file.Events {
		if err := g.include(ctx, b.audit, &g.file.Events[i]); err != nil {
			return err
		}
	}
	for i := range g.file.Revocations {
		r := &g.file.Revocations[i]
		for _, e := range []**api.CustodyEvent{&r.Made, &r.Lifted} {
			if *e != nil && (*e).Seq > b.audit.Size {
				*e = nil
			}
			if err := g.include(ctx, b.audit, *e); err != nil {
				return err
			}
		}
		if r.Lifted == nil {
			r.Revocation.Lifted = nil
		}
	}
	if err := g.epochs(ctx); err != nil {
		return err
	}
	for _, n := range slices.Sorted(maps.Keys(g.batches)) {
		g.file.Batches = append(g.file.Batches, api.CustodyBatch{Number: n, Bundle: g.batches[n].Bundle})
	}
	return nil
}

// include adds the inclusion path of an event.
func (g *gathering) include(ctx context.Context, head *tlog.Checkpoint, e *api.CustodyEvent) error {
	if e == nil {
		return nil
	}
	hashes, err := tlog.ProveInclusion(ctx, g.Log, e.Seq-1, head.Size)
	if err != nil {
		return err
	}
	for _, h := range hashes {
		e.Path = append(e.Path, hex.EncodeToString(h[:]))
	}
	return nil
}

// epochs adds the states of the repositories in which it stands, waiting for
// those that no batch proves yet.
func (g *gathering) epochs(ctx context.Context) error {
	g.file.Epochs = []api.CustodyEpoch{}
	for _, r := range g.stands {
		e, err := g.provenEpoch(ctx, r)
		if errors.Is(err, repo.ErrNotFound) {
			continue // it has none
		}
		if err != nil {
			return err
		}
		out := api.CustodyEpoch{Repository: r.String(), Text: e.Text}
		if e.Proven {
			out.Payload, out.Batch, out.Index, out.Path, out.State = e.Payload, e.Batch.Number, e.Index, e.Path, e.State
			g.batches[e.Batch.Number] = e.Batch
			if len(e.State) > maxListed {
				out.State, out.Text = nil, fmt.Sprintf("they are %d, and a file takes %d", len(e.State), maxListed)
			}
		}
		g.file.Epochs = append(g.file.Epochs, out)
	}
	return nil
}

func (g *gathering) provenEpoch(ctx context.Context, r oci.Repository) (*api.RepositoryEpoch, error) {
	ctx, cancel := context.WithTimeout(ctx, needTime)
	defer cancel()
	for {
		e, err := g.Epoch(ctx, r)
		if err != nil || e.Proven {
			return e, err
		}
		if pause(ctx) != nil {
			return e, nil
		}
	}
}
