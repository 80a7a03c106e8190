package assess

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/threat"
)

// JobAdvisories is the kind of job that follows a new snapshot of advisories;
// its key is the sequence number of the snapshot before.
const JobAdvisories = "advisories"

// rejudgeBatch is how many judgements one transaction asks for.
const rejudgeBatch = 500

// match finds what is wrong with an image, and what could not be looked at.
// An image that the job which follows a new snapshot cannot find, because its
// record was not stored yet, is not decided under an older one: see stillInForce.
func match(x *vuln.Index, im *inventory.Image) ([]evidence.Finding, []policy.Unchecked) {
	findings, checked := x.Findings(im)
	if checked.Complete() {
		return findings, nil
	}
	byPURL := make(map[string]inventory.Located, len(im.Packages))
	for _, p := range im.Packages {
		if _, ok := byPURL[p.PURL]; !ok {
			byPURL[p.PURL] = p
		}
	}
	var unchecked []policy.Unchecked
	for _, g := range checked.Gaps {
		for _, purl := range g.Examples {
			unchecked = append(unchecked, policy.Unchecked{Package: byPURL[purl], Reason: string(g.Reason)})
		}
		if more := g.Packages - len(g.Examples); more > 0 {
			rest := inventory.Package{Name: fmt.Sprintf("%d more packages", more), Ecosystem: g.Ecosystem}
			unchecked = append(unchecked, policy.Unchecked{Package: inventory.Located{Package: rest}, Reason: string(g.Reason)})
		}
	}
	return findings, unchecked
}

// statesFor is how long the state of feeds is remembered between judgements.
const statesFor = 5 * time.Second

// freshness remembers the state of feeds for a moment.
type freshness struct {
	mu     sync.Mutex
	at     time.Time
	states []vuln.FeedState
}

// feedStates returns the state of all feeds, a few seconds old at most.
func (a *Assessor) feedStates(ctx context.Context) ([]vuln.FeedState, error) {
	f := &a.fresh
	f.mu.Lock()
	defer f.mu.Unlock()
	now := a.Clock()
	if age := now.Sub(f.at); f.states != nil && age >= 0 && age < statesFor {
		return f.states, nil
	}
	states, err := a.AdvisoryRows.Feeds(ctx)
	if err != nil {
		return nil, err
	}
	f.states, f.at = states, now
	return states, nil
}

// asOf sets the time of a snapshot to when the advisories that concern the
// image were last found up to date: a feed that is asked and has nothing new
// is fresh, and one that speaks of other ecosystems does not matter. The
// oldest counts.
func (a *Assessor) asOf(ctx context.Context, s evidence.Snapshot, im *inventory.Image) (evidence.Snapshot, error) {
	states, err := a.feedStates(ctx)
	if err != nil {
		return s, err
	}
	concerns := map[string]bool{}
	for i := range im.Packages {
		concerns[vuln.BaseEcosystem(im.Packages[i].Ecosystem)] = true
	}
	var oldest, newest time.Time
	for i := range states {
		f := &states[i]
		if f.Format != "" {
			continue
		}
		checked := f.LoadedAt
		if f.Problem == "" && f.CheckedAt.After(checked) {
			checked = f.CheckedAt
		}
		if checked.After(newest) {
			newest = checked
		}
		if slices.ContainsFunc(f.Ecosystems, func(e string) bool { return concerns[e] }) && (oldest.IsZero() || checked.Before(oldest)) {
			oldest = checked
		}
	}
	switch {
	case !oldest.IsZero():
		s.At = oldest
	case newest.After(s.At):
		s.At = newest
	}
	return s, nil
}

// HandleAdvisories is the handler of JobAdvisories: it takes the new snapshot
// into use and has every placement judged again whose findings may differ.
func (a *Assessor) HandleAdvisories(ctx context.Context, j job.Job) error {
	after, err := strconv.ParseInt(j.Key, 10, 64)
	if err != nil {
		return fmt.Errorf("reading job key %q: %v", j.Key, err)
	}
	if _, err := a.Advisories.Refresh(ctx); err != nil {
		return err
	}
	index := a.Advisories.Index()
	wider, err := a.widened(ctx, after, index.Snapshot())
	if err != nil {
		return err
	}
	if wider {
		return a.RejudgeZone(ctx, "")
	}
	c, err := vuln.Compare(ctx, a.AdvisoryRows, after, index)
	if err != nil {
		return err
	}
	if c.Releases() {
		return a.RejudgeZone(ctx, "")
	}
	if err := a.compareBeside(ctx, after, index, c); err != nil {
		return err
	}
	keys, err := a.differing(ctx, c)
	if err != nil {
		return err
	}
	before, err := a.AdvisoryRows.Snapshot(ctx, after)
	if err != nil {
		return err
	}
	said, err := a.saidOtherwise(ctx, before, index.Snapshot())
	if err != nil {
		return err
	}
	keys = append(keys, said...)
	return a.rejudgeWith(ctx, keys)
}

// attention is what of the scores the gates look at that judge in any zone.
func (a *Assessor) attention() (all threat.Attention) {
	for _, name := range a.Zones.Names() {
		if z := a.Zones[name]; z.Gated() {
			s := a.Gates[z.Gate].Scores()
			all.All, all.Thresholds = all.All || s.All, append(all.Thresholds, s.Thresholds...)
		}
	}
	return all
}

// asksForEnds reports whether any gate that judges asks how long releases are
// maintained. The days by which they end change once in a while.
func (a *Assessor) asksForEnds() bool {
	return slices.ContainsFunc(a.Zones.Names(), func(name string) bool {
		z := a.Zones[name]
		return z.Gated() && a.Gates[z.Gate].Lifecycles()
	})
}

// compareBeside has c take for different what is exploited that was not, or no more,
// and what is scored otherwise in a way that some gate sees: the scores of most
// faults change every day.
func (a *Assessor) compareBeside(ctx context.Context, after int64, index *vuln.Index, c *vuln.Comparison) error {
	before, err := a.AdvisoryRows.Snapshot(ctx, after)
	if err != nil {
		return err
	}
	now, looks := index.Snapshot(), a.attention()
	seen := looks.All || len(looks.Thresholds) > 0
	if before.Exploited == now.Exploited && (before.Scores == now.Scores || !seen) {
		return nil
	}
	if !seen {
		before.Scores = oci.Digest{} // nobody asks
	}
	was, err := vuln.ThreatsAt(ctx, a.AdvisoryRows, before)
	if err != nil {
		return err
	}
	c.Also(index.Threats().Changed(was, looks))
	return nil
}

// widened reports whether other ecosystems are covered than under the snapshot
// before, or whether something else stands beside the advisories that did not, or no
// more: then much can be told that could not, and nothing touched tells what.
func (a *Assessor) widened(ctx context.Context, after int64, now evidence.Snapshot) (bool, error) {
	if after == 0 {
		return true, nil
	}
	before, err := a.AdvisoryRows.Snapshot(ctx, after)
	if err != nil {
		return false, err
	}
	if before.Lifecycles != now.Lifecycles && a.asksForEnds() {
		return true, nil
	}
	return !slices.Equal(before.Ecosystems, now.Ecosystems) || before.Exploited.IsZero() != now.Exploited.IsZero() ||
		before.Scores.IsZero() != now.Scores.IsZero(), nil
}

// Bounds of one query of the inverse index: packages that it asks for, and
// manifests that it returns. Each query goes through all manifests that hold
// the packages, so that there must be few.
const (
	keysAtOnce      = 200
	manifestsAtOnce = 50_000
)

// rejudgeWith has the placements judged again that hold one of the packages, in
// the version given or, for "", in any.
func (a *Assessor) rejudgeWith(ctx context.Context, keys []Component) error {
	for chunk := range slices.Chunk(keys, keysAtOnce) {
		var after oci.Digest
		for {
			digests, err := view(ctx, a.DB, func(tx Tx) ([]oci.Digest, error) {
				return tx.ManifestsWith(ctx, chunk, after, manifestsAtOnce)
			})
			if err != nil {
				return err
			}
			for batch := range slices.Chunk(digests, rejudgeBatch) {
				if err := a.enqueue(ctx, func(tx Tx) ([]repo.Placement, error) { return placementsOf(ctx, tx, batch) }); err != nil {
					return err
				}
			}
			if len(digests) < manifestsAtOnce {
				break
			}
			after = digests[len(digests)-1]
		}
	}
	return nil
}

func placementsOf(ctx context.Context, tx Tx, digests []oci.Digest) ([]repo.Placement, error) {
	var all []repo.Placement
	for _, d := range digests {
		ps, err := tx.Placements(ctx, d)
		if err != nil {
			return nil, err
		}
		all = append(all, ps...)
	}
	return all, nil
}

// enqueue asks for a judgement of each placement that pick returns. Indexes
// follow when the decision of one of their images changes.
func (a *Assessor) enqueue(ctx context.Context, pick func(Tx) ([]repo.Placement, error)) error {
	return a.DB.Update(ctx, func(tx Tx) error {
		placements, err := pick(tx)
		if err != nil {
			return err
		}
		now := a.Clock()
		for _, p := range placements {
			if err := tx.EnqueueFor(ctx, judge, JobJudge, judgeKey(p.Repository, p.Digest), now); err != nil {
				return err
			}
		}
		return nil
	})
}

// RejudgeZone has everything judged again that stands in a zone or waits in
// its intake; "" means all zones.
func (a *Assessor) RejudgeZone(ctx context.Context, zone string) error {
	var after repo.Placement
	for {
		var batch []repo.Placement
		err := a.enqueue(ctx, func(tx Tx) (_ []repo.Placement, err error) {
			batch, err = tx.Standing(ctx, zone, after.Repository, after.Digest, rejudgeBatch)
			return batch, err
		})
		if err != nil || len(batch) == 0 {
			return err
		}
		after = batch[len(batch)-1]
	}
}

// Recheck asks for a judgement of what time alone may have changed. It is a
// periodic job.
func (a *Assessor) Recheck(ctx context.Context) error {
	return a.enqueue(ctx, func(tx Tx) ([]repo.Placement, error) { return tx.Due(ctx, a.Clock(), rejudgeBatch) })
}
