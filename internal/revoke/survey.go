package revoke

import (
	"context"
	"errors"
	"slices"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// acting is one revocation.
type acting struct {
	*Flow
	tx Tx // the transaction that goes on
	r  evidence.Revocation
	by authz.Principal
}

// place is where a placement is.
type place struct {
	repository oci.Repository
	digest     oci.Digest
}

// hit is a placement that is withdrawn.
type hit struct {
	at  repo.Placement
	how string
}

// survey is what a revocation would do.
type survey struct {
	hits   []hit
	barred []oci.Digest     // may stand nowhere
	rest   []repo.Placement // judged again
	zones  []string         // judged again as a whole
	seen   map[place]bool   // that are among the hits
	more   int              // hits beyond these, where they are not all looked at
}

// size is how much there is to do, in placements.
func (s *survey) size() int { return len(s.hits) + len(s.barred) + len(s.rest) }

// look is survey in a view of its own: while it goes on, others write.
func (a *acting) look(ctx context.Context) (s *survey, err error) {
	err = a.View(ctx, func(tx Tx) error {
		a.tx = tx
		s, err = a.survey(ctx)
		return err
	})
	return s, err
}

// survey finds out what the revocation does; it changes nothing.
func (a *acting) survey(ctx context.Context) (*survey, error) {
	s := &survey{seen: map[place]bool{}}
	touched, err := a.tx.Touched(ctx, &a.r)
	if err != nil {
		return nil, err
	}
	if a.r.Bars() {
		if touched, err = a.withChildren(ctx, touched); err != nil {
			return nil, err
		}
		for _, t := range touched {
			s.barred = append(s.barred, t.Digest)
		}
	} else if touched, err = a.withLent(ctx, touched); err != nil {
		return nil, err
	}
	for _, t := range touched {
		placements, err := a.tx.Placements(ctx, t.Digest)
		if err != nil {
			return nil, err
		}
		for _, at := range placements {
			if err := a.surveyOne(ctx, s, at, t); err != nil {
				return nil, err
			}
		}
	}
	if a.r.Kind == evidence.RevokedFeed {
		for _, name := range a.Zones.Names() {
			if a.Zones[name].Gated() {
				s.zones = append(s.zones, name)
			}
		}
	}
	s.rest = slices.DeleteFunc(s.rest, func(p repo.Placement) bool { return s.seen[place{p.Repository, p.Digest}] })
	return s, nil
}

// surveyOne decides about one placement of what is touched. Where what was signed
// may stand by what others say, it is withdrawn if the decision that let it in
// was told of the signature, and else judged again.
func (a *acting) surveyOne(ctx context.Context, s *survey, at repo.Placement, t Touched) error {
	if !a.r.Bars() {
		d, err := a.tx.DecisionInForce(ctx, &at)
		if err != nil {
			return err
		}
		if d == nil || at.State != repo.Admitted || !reliesOn(d, t.Referrers) {
			s.rest = append(s.rest, at)
			return nil
		}
	}
	return a.hit(ctx, s, at, t.How)
}

// reliesOn reports whether a rule of the decision was told of one of these.
func reliesOn(d *api.Decision, referrers []oci.Digest) bool {
	for i := range d.Reasons {
		for _, r := range referrers {
			if slices.Contains(d.Reasons[i].Evidence, r.String()) {
				return true
			}
		}
	}
	return false
}

// hit takes a placement among the hits, and the indexes that name it there.
func (a *acting) hit(ctx context.Context, s *survey, at repo.Placement, how string) error {
	key := place{at.Repository, at.Digest}
	if s.seen[key] {
		return nil
	}
	s.seen[key] = true
	s.hits = append(s.hits, hit{at, how})
	parents, err := a.tx.Parents(ctx, at.Repository, at.Digest)
	if err != nil || at.Kind == oci.KindEvidence {
		return err
	}
	for _, p := range parents {
		if err := a.hit(ctx, s, p, "it names "+at.Digest.String()+", of which: "+how); err != nil {
			return err
		}
	}
	return nil
}

// withChildren adds what indexes name: who pulls a platform by its own digest
// pulls the same thing.
func (a *acting) withChildren(ctx context.Context, touched []Touched) ([]Touched, error) {
	seen := map[oci.Digest]bool{}
	for _, t := range touched {
		seen[t.Digest] = true
	}
	for i := 0; i < len(touched); i++ {
		m, err := a.tx.Stored(ctx, touched[i].Digest)
		if errors.Is(err, repo.ErrNotFound) {
			continue // a blob, or nothing that ever was here
		}
		if err != nil {
			return nil, err
		}
		for _, ref := range m.References {
			if ref.Role == repo.RoleChild && !seen[ref.Digest] {
				seen[ref.Digest] = true
				touched = append(touched, Touched{Digest: ref.Digest, How: "it is part of " + m.Digest.String() + ", of which: " + touched[i].How})
			}
		}
	}
	return touched, nil
}

// withLent adds what signed indexes name: a signature of an index may have counted
// for those.
func (a *acting) withLent(ctx context.Context, touched []Touched) ([]Touched, error) {
	at := map[oci.Digest]int{}
	for i, t := range touched {
		at[t.Digest] = i
	}
	for _, t := range slices.Clone(touched) {
		all, err := repo.WithChildren(ctx, a.tx, t.Digest)
		if err != nil {
			return nil, err
		}
		for _, d := range all[1:] {
			if i, ok := at[d]; ok {
				touched[i].Referrers = slices.Concat(touched[i].Referrers, t.Referrers)
				continue
			}
			at[d] = len(touched)
			touched = append(touched, Touched{Digest: d, Referrers: t.Referrers, How: "its index " + t.Digest.String() + " is " + t.How})
		}
	}
	return touched, nil
}
