package feed

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// Of reports whether a feed of that name belongs to the source, as it is asked
// for now: another ecosystem than it names, where it names any, does not.
func (s *Source) Of(name string) bool {
	if name == s.Name {
		return true
	}
	if s.document() {
		return false
	}
	n := len(s.Name)
	if len(name) <= n+1 || name[:n] != s.Name || name[n] != '/' {
		return false
	}
	return len(s.Ecosystems) == 0 || slices.Contains(s.Ecosystems, name[n+1:])
}

// Drop puts feeds out of force: all their records end with one new snapshot,
// and their states say that there are none and nothing is covered; the times in
// them stay, as nothing was looked at. Names that were never loaded, or have nothing in force, are left as they are; where that
// is all, nothing is committed. The error is as that of Load.
func (l *Loader) Drop(ctx context.Context, names []string) (Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := l.opts.Now()
	r := &run{Loader: l, at: start.UTC().Truncate(time.Microsecond)}
	result, err := r.drop(ctx, names)
	result.Duration = l.opts.Now().Sub(start)
	if err != nil {
		r.abandon(ctx)
		return result, fmt.Errorf("dropping feeds of advisories: %w", err)
	}
	return result, nil
}

func (r *run) drop(ctx context.Context, names []string) (result Result, err error) {
	if r.states, err = readStates(ctx, r.opts.Reader); err != nil {
		return result, err
	}
	for _, name := range names {
		state, ok := r.states[name]
		if !ok || state.Records == 0 {
			continue
		}
		gone, err := r.end(ctx, &state)
		if err != nil {
			return result, err
		}
		delete(r.current, name)
		r.states[name] = vuln.FeedState{
			Name: name, Format: state.Format, Source: state.Source, Digest: oci.FromBytes(nil), Seq: r.loadID.Seq, LoadedAt: state.LoadedAt, CheckedAt: state.CheckedAt,
		}
		result.Feeds = append(result.Feeds, FeedResult{Name: name, Gone: gone, Dropped: true})
	}
	if len(result.Feeds) == 0 {
		return result, nil
	}
	return r.commit(ctx, result)
}

// end stages the end of all records of a feed that are in force, and returns
// how many that are.
func (r *run) end(ctx context.Context, state *vuln.FeedState) (int, error) {
	if state.Format != "" {
		return state.Records, r.begin(ctx)
	}
	r.advisories = true
	name := state.Name
	all, err := r.heads(ctx, name)
	if err != nil {
		return 0, err
	}
	var ids []string
	for id, h := range all {
		if h.inForce {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for batch := range slices.Chunk(ids, vuln.MaxBatch) {
		if err := r.begin(ctx); err != nil {
			return 0, err
		}
		if err := r.opts.Stager.Stage(ctx, r.loadID, vuln.Batch{Feed: name, Close: batch}); err != nil {
			return 0, &storeError{fmt.Errorf("staging the end of %d rows of feed %s: %w", len(batch), name, err)}
		}
	}
	return len(ids), nil
}
