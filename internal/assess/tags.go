package assess

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Enter tells what "enter" says now about something that is in already: whether
// a tag could be moved to it. Nothing is recorded. sentence says why not. Errors
// match repo.ErrNotFound.
func (a *Assessor) Enter(ctx context.Context, r oci.Repository, d oci.Digest) (outcome api.Outcome, sentence string, err error) {
	if err := a.catchUp(ctx, r); err != nil {
		return "", "", err
	}
	s, err := view(ctx, a.DB, func(tx Tx) (*standing, error) { return readStanding(ctx, tx, r, d) })
	if err != nil {
		return "", "", err
	}
	v, err := a.entry(ctx, s.at)
	if err != nil {
		return "", "", err
	}
	return v.Decision.Outcome, policy.Sentence(&v.Decision), nil
}

// applyToTags moves the tags that wait for at, or records why they do not. Those
// that wait for what is in the intake itself need no reason of their own.
func (a *Assessor) applyToTags(ctx context.Context, tx Tx, at repo.Placement, notes []repo.Note, j judged) error {
	switch {
	case len(notes) == 0 || at.State != repo.Admitted:
		return nil
	case j.enters() && j.entry != nil:
		id, err := tx.PutDecision(ctx, &j.entry.Decision, j.entry.Snapshot)
		if err != nil {
			return err
		}
		return a.moveTags(ctx, tx, at, tagsIn(notes), id)
	case j.enters():
		return a.moveTags(ctx, tx, at, tagsIn(notes), at.Decision)
	case j.entry != nil:
		return a.keepTags(ctx, tx, at, notes, j.entry)
	}
	return nil
}

// tagsIn returns the tags of notes, each once, in order.
func tagsIn(notes []repo.Note) []string {
	tags := make([]string, len(notes))
	for i, n := range notes {
		tags[i] = n.Tag
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// moveTags lets tags point at a placement, because of a decision.
func (a *Assessor) moveTags(ctx context.Context, tx Tx, at repo.Placement, tags []string, decision int64) error {
	for _, tag := range tags {
		before, err := tx.SetTag(ctx, at.Repository, tag, at.Digest)
		if err != nil {
			return err
		}
		if before == at.Digest {
			continue
		}
		ev, err := a.event("tag.moved")
		if err != nil {
			return err
		}
		ev = ev.On(at.Repository, at.Digest).With("tag", tag).With("decision", fmt.Sprint(decision))
		if !before.IsZero() {
			ev = ev.With("before", before.String())
		}
		if err := tx.Append(ctx, ev); err != nil {
			return err
		}
	}
	return nil
}

// keepTags records why tags do not move to what is admitted, and says it once.
func (a *Assessor) keepTags(ctx context.Context, tx Tx, at repo.Placement, notes []repo.Note, entry *Verdict) error {
	var before *Recorded
	if told := slices.MaxFunc(notes, func(x, y repo.Note) int { return cmp.Compare(x.Decision, y.Decision) }).Decision; told != 0 {
		var err error
		if before, err = tx.Decision(ctx, told); err != nil {
			return err
		}
	}
	id, changed, err := recordDecision(ctx, tx, before, entry)
	if err != nil {
		return err
	}
	news := notes
	if !changed {
		news = slices.DeleteFunc(slices.Clone(notes), func(n repo.Note) bool { return n.Decision == id })
	}
	if len(news) == 0 {
		return nil
	}
	if err := tx.PutNotesDecision(ctx, at.Repository, at.Digest, id); err != nil {
		return err
	}
	ev, err := a.event("tag.waits")
	if err != nil {
		return err
	}
	ev = ev.On(at.Repository, at.Digest).With("tags", strings.Join(tagsIn(news), ","))
	return tx.Append(ctx, decided(ev, repo.Placement{Decision: id}, &entry.Decision))
}

// waiting tells of the tags that wait for what was found, and of tag, which led
// there, if it is to point elsewhere: to something admitted, or in the intake and
// visible to the viewer.
func waiting(ctx context.Context, tx Tx, f *found, tag string) ([]api.Waiting, error) {
	r := f.placed.Repository
	var notes []repo.Note
	if f.placed.State == repo.Admitted {
		of, err := tx.NotesOf(ctx, r, f.placed.Manifest.Digest)
		if err != nil {
			return nil, err
		}
		notes = of
	}
	if tag != "" {
		about, err := tx.NotesAbout(ctx, r, tag)
		if err != nil {
			return nil, err
		}
		for _, n := range about {
			if n.Digest == f.placed.Manifest.Digest {
				continue
			}
			there, err := tx.Lookup(ctx, r, repo.Selector{Digest: n.Digest}, f.viewer)
			if err != nil {
				return nil, err
			}
			if f.viewer.Visible(&there.Placement) {
				notes = append(notes, n)
			}
		}
	}
	var list []api.Waiting
	for _, n := range notes {
		w := api.Waiting{Tag: n.Tag, Digest: n.Digest.String(), By: n.By, At: n.At}
		if n.Decision != 0 {
			recorded, err := tx.Decision(ctx, n.Decision)
			if err != nil {
				return nil, err
			}
			w.Decision = &recorded.Decision
		}
		list = append(list, w)
	}
	return list, nil
}
