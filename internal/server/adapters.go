package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/promote"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
)

// The adapters let rooms meet that do not know each other. None of them
// decides anything.

// txs gives a flow transactions in the shape that it declares.
func txs[T any](run func(context.Context, func(*db.Tx) error) error) func(context.Context, func(T) error) error {
	return func(ctx context.Context, fn func(T) error) error {
		return run(ctx, func(tx *db.Tx) error { return fn(any(tx).(T)) })
	}
}

// What the flows declare, the database's transaction is.
var (
	_ push.Tx    = (*db.Tx)(nil)
	_ assess.Tx  = (*db.Tx)(nil)
	_ promote.Tx = (*db.Tx)(nil)
)

// judge lets promote ask assess.
type judge struct{ assess *assess.Assessor }

func (j judge) Decide(ctx context.Context, from, to oci.Repository, d oci.Digest) (*promote.Verdict, error) {
	v, err := j.assess.Decide(ctx, from, to, d)
	if err != nil {
		return nil, err
	}
	out := verdict(v, map[oci.Digest]promote.Verdict{})
	return &out, nil
}

// verdict translates a verdict and those below it, each once.
func verdict(v *assess.Verdict, known map[oci.Digest]promote.Verdict) promote.Verdict {
	out := promote.Verdict{Decision: v.Decision, Snapshot: v.Snapshot, Gate: v.Gate, Under: v.Under, Evidence: v.Evidence, Approvable: v.Approvable, Children: map[oci.Digest]promote.Verdict{}}
	for d, child := range v.Children {
		if _, ok := known[d]; !ok {
			known[d] = verdict(&child, known)
		}
		out.Children[d] = known[d]
	}
	return out
}

// remover is promote as the registry needs it.
type remover struct{ *promote.Flow }

func (r remover) DeleteBlob(ctx context.Context, acts []authz.Act, v repo.Viewer, in oci.Repository, d oci.Digest) error {
	err := r.Flow.DeleteBlob(ctx, acts, v, in, d)
	if errors.Is(err, promote.ErrInUse) {
		return fmt.Errorf("%w: %w", push.ErrRefused, err)
	}
	return err
}

// zoneTeller answers how the registry is cut and judged.
type zoneTeller struct {
	zones  repo.Zones
	gates  *gates
	db     *db.DB
	assess *assess.Assessor
}

func (z zoneTeller) Zones(ctx context.Context) ([]api.Zone, error) {
	counts, err := z.db.CountPlacements(ctx)
	if err != nil {
		return nil, err
	}
	list := []api.Zone{}
	for _, name := range z.zones.Names() {
		zone := z.zones[name]
		wire := api.Zone{Name: name, Gate: zone.Gate, From: zone.From, Sandbox: zone.Sandbox}
		if g := z.gates.compiled[zone.Gate]; g != nil {
			wire.GateDigest = g.Digest().String()
		}
		wire.Admitted = counts[name][repo.Admitted]
		wire.Waiting = counts[name][repo.Held] + counts[name][repo.Denied]
		list = append(list, wire)
	}
	return list, nil
}

func (z zoneTeller) Gates(context.Context) ([]api.Gate, error) {
	list := []api.Gate{}
	for _, name := range z.gates.names() {
		list = append(list, z.gates.wire(name))
	}
	return list, nil
}

func (z zoneTeller) Gate(_ context.Context, name string) (*api.Gate, error) {
	if !slices.Contains(z.gates.names(), name) {
		return nil, fmt.Errorf("gate %s: %w; there are %v", oci.Quote(name), repo.ErrNotFound, z.gates.names())
	}
	g := z.gates.wire(name)
	return &g, nil
}
