package assess

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/vexset"
)

// heldSets is how many sets of VEX documents are kept in memory: those in force,
// and those before, while what differs is judged again.
const heldSets = 16

// vexSets remembers sets of VEX documents by digest: they never change.
type vexSets struct {
	mu    sync.Mutex
	lists map[oci.Digest]vexset.List
	sets  map[oci.Digest]*vexset.Set
}

// vexList returns which VEX documents of which feed are in force, as a snapshot
// names it.
func (a *Assessor) vexList(ctx context.Context, d oci.Digest) (vexset.List, error) {
	return remembered(ctx, a, d, &a.vexes.lists, vexset.ReadList)
}

// vexSet returns a set of VEX documents; nil for the zero digest.
func (a *Assessor) vexSet(ctx context.Context, d oci.Digest) (*vexset.Set, error) {
	return remembered(ctx, a, d, &a.vexes.sets, vexset.Read)
}

// remembered returns what a document of feeds holds, zero for the zero digest.
func remembered[T any](ctx context.Context, a *Assessor, d oci.Digest, known *map[oci.Digest]T, read func([]byte) (T, error)) (v T, err error) {
	if d.IsZero() {
		return v, nil
	}
	a.vexes.mu.Lock()
	defer a.vexes.mu.Unlock()
	if v, ok := (*known)[d]; ok {
		return v, nil
	}
	content, err := a.AdvisoryRows.Document(ctx, d)
	if err != nil {
		return v, err
	}
	if v, err = read(content); err != nil {
		return v, err
	}
	if *known == nil || len(*known) >= heldSets {
		*known = map[oci.Digest]T{}
	}
	(*known)[d] = v
	return v, nil
}

// feedsOf returns the feeds whose word a gate takes, each once.
func feedsOf(g *policy.Gate) []string {
	feeds := g.VEXFeeds()
	slices.Sort(feeds)
	return slices.Compact(feeds)
}

// fromFeeds returns what the feeds that a gate believes say of what was found, as
// of the snapshot that x was examined under. A feed that is revoked says nothing.
func (a *Assessor) fromFeeds(ctx context.Context, gate *policy.Gate, d *distrusted, x *examined) ([]evidence.VEXDocument, error) {
	feeds := feedsOf(gate)
	if len(feeds) == 0 || len(x.findings) == 0 {
		return nil, nil
	}
	list, err := a.vexList(ctx, x.snapshot.VEX)
	if err != nil {
		return nil, fmt.Errorf("reading VEX of snapshot %d: %w", x.snapshot.Seq, err)
	}
	var all []evidence.VEXDocument
	for _, name := range feeds {
		if d.list.OfFeed(name) != nil {
			continue
		}
		set, err := a.vexSet(ctx, list[name])
		if err != nil {
			return nil, fmt.Errorf("reading VEX of feed %s: %w", name, err)
		}
		all = append(all, set.About(name, x.findings)...)
	}
	return all, nil
}

// vexOf adds what feeds said, as the decision names it.
func (p *past) vexOf(ctx context.Context, g *policy.Gate, in *policy.Input) error {
	named := &p.of.Inputs
	in.Snapshot.VEX = oci.Digest{}
	if named.VEXList == "" || g == nil || len(p.missing) > 0 {
		return nil
	}
	d, err := oci.ParseDigest(named.VEXList)
	if err != nil {
		return fmt.Errorf("reading the digest of the VEX in force: %w", err)
	}
	in.Snapshot.VEX = d
	list, err := p.vexList(ctx, d)
	for _, name := range feedsOf(g) {
		var set *vexset.Set
		if err == nil {
			set, err = p.vexSet(ctx, list[name])
		}
		for _, doc := range set.About(name, in.Findings) {
			if slices.Contains(named.VEX, doc.Digest.String()) { // a feed that was revoked said nothing
				in.VEX = append(in.VEX, doc)
			}
		}
	}
	if errors.Is(err, vuln.ErrNoDocument) {
		p.missing = append(p.missing, "the VEX documents of feeds "+named.VEXList)
		return nil
	}
	return err
}

// saidOtherwise returns the packages with faults of which a feed that some gate
// believes says something else than under another snapshot.
func (a *Assessor) saidOtherwise(ctx context.Context, before, now evidence.Snapshot) ([]Component, error) {
	if before.VEX == now.VEX {
		return nil, nil
	}
	was, err := a.vexList(ctx, before.VEX)
	if err != nil {
		return nil, err
	}
	is, err := a.vexList(ctx, now.VEX)
	if err != nil {
		return nil, err
	}
	var keys []Component
	for _, name := range a.believed() {
		ids, err := a.changedIn(ctx, was[name], is[name])
		if err != nil {
			return nil, fmt.Errorf("comparing VEX of feed %s: %w", name, err)
		}
		keys = append(keys, a.packagesOf(ids)...)
	}
	return keys, nil
}

// changedIn returns the faults of which two sets say something else.
func (a *Assessor) changedIn(ctx context.Context, before, now oci.Digest) ([]string, error) {
	if before == now {
		return nil, nil
	}
	old, err := a.vexSet(ctx, before)
	if err != nil {
		return nil, err
	}
	set, err := a.vexSet(ctx, now)
	if err != nil {
		return nil, err
	}
	return set.Changed(old), nil
}

// packagesOf returns the packages that advisories with these ids or aliases are
// about.
func (a *Assessor) packagesOf(ids []string) []Component {
	var keys []Component
	seen, index := map[Component]bool{}, a.Advisories.Index()
	for _, id := range ids {
		for _, advisory := range index.Lookup(id) {
			for _, k := range advisory.Keys() {
				if c := (Component{Family: k.Type, Name: k.Name}); !seen[c] {
					seen[c], keys = true, append(keys, c)
				}
			}
		}
	}
	return keys
}

// believed returns the feeds of VEX whose word some gate of a zone takes, sorted.
func (a *Assessor) believed() []string {
	var all []string
	for _, name := range a.Zones.Names() {
		if g := a.Gates[a.Zones[name].Gate]; g != nil {
			all = append(all, g.VEXFeeds()...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// checkFeeds returns an error for a gate that takes the word of a feed which is not
// there.
func checkFeeds(gates map[string]*policy.Gate, feeds []string) error {
	for name, g := range gates {
		for _, f := range g.VEXFeeds() {
			if !slices.Contains(feeds, f) {
				return fmt.Errorf("gate %s takes the word of feed %s, which is not configured; describe it under feeds in the configuration, with format: vex, or name one that is there", name, oci.Quote(f))
			}
		}
	}
	return nil
}
