package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// ErrStopped: somebody said that it is not to be promoted.
var ErrStopped = errors.New("stopped")

// Word asks for something to be said about a placement, or to be taken back.
type Word struct {
	Of     oci.Reference // the placement
	Viewer repo.Viewer   // how who asks looks at its repository
	Reason string        // at most MaxReason bytes; a stop needs one
	Back   bool          // what was said is taken back
}

// Approve says yes to what Of names coming into act's repository: another zone
// with a way from there, or, where it is the same repository, to what waits or
// stands in it. Who has said so already has said it once. With Back it takes
// back its own yes. What waits there is judged again. read must permit pull where
// it stands. Errors are those of Promote.
func (f *Flow) Approve(ctx context.Context, act, read authz.Act, in Word) (*api.Approved, error) {
	to, from := act.Repository(), in.Of.Repository
	if err := act.Permits(to, authz.Approve); err != nil {
		return nil, err
	}
	if err := read.Permits(from, authz.Pull, authz.PullFromQuarantine); err != nil {
		return nil, err
	}
	if err := checkReason(in.Reason); err != nil {
		return nil, err
	}
	if act.Principal().IsAnonymous() {
		return nil, fmt.Errorf("approving: %w: nobody knows who that is", authz.ErrNotPermitted)
	}
	if from != to {
		if err := f.checkWay(from, to); err != nil {
			return nil, err
		}
	}
	out := &api.Approved{From: from.String(), Repository: to.String()}
	err := f.Update(ctx, func(tx Tx) error {
		d, err := f.sighted(ctx, tx, in)
		if err != nil {
			return err
		}
		out.Digest = d.String()
		if err := f.speak(ctx, tx, act, evidence.Word{Kind: evidence.Approved, Repository: to, Digest: d, Reason: in.Reason}, in.Back); err != nil {
			return err
		}
		if err := f.rejudgeIn(ctx, tx, act.Principal(), to, d); err != nil {
			return err
		}
		out.Approvals, err = wordsOn(ctx, tx, evidence.Approved, to, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Stop says that what Of names is not to be promoted from act's repository, and
// that no tag goes back to it; with Back that it may be again, whoever had
// stopped it. Errors are those of Promote.
func (f *Flow) Stop(ctx context.Context, act, read authz.Act, in Word) (*api.Stopped, error) {
	r := act.Repository()
	if err := act.Permits(r, authz.Hold); err != nil {
		return nil, err
	}
	if err := read.Permits(r, authz.Pull, authz.PullFromQuarantine); err != nil {
		return nil, err
	}
	if err := checkReason(in.Reason); err != nil {
		return nil, err
	}
	if in.Reason == "" && !in.Back {
		return nil, fmt.Errorf("%w: stopping something needs a reason: it is what everyone is told who wants to promote it", authz.ErrInvalid)
	}
	out := &api.Stopped{Repository: r.String()}
	err := f.Update(ctx, func(tx Tx) error {
		d, err := f.sighted(ctx, tx, in)
		if err != nil {
			return err
		}
		out.Digest = d.String()
		if err := f.speak(ctx, tx, act, evidence.Word{Kind: evidence.Stopped, Repository: r, Digest: d, Reason: in.Reason}, in.Back); err != nil {
			return err
		}
		out.Stops, err = wordsOn(ctx, tx, evidence.Stopped, r, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// sighted finds what in is about: something that its viewer may see.
func (f *Flow) sighted(ctx context.Context, tx Tx, in Word) (oci.Digest, error) {
	sel := repo.Selector{Tag: in.Of.Tag, Digest: in.Of.Digest}
	if !in.Of.Digest.IsZero() {
		sel.Tag = ""
	}
	placed, err := tx.Lookup(ctx, in.Of.Repository, sel, in.Viewer)
	if err != nil {
		return oci.Digest{}, err
	}
	if !in.Viewer.Visible(&placed.Placement) {
		return oci.Digest{}, fmt.Errorf("%s: %w", in.Of, repo.ErrNotFound)
	}
	return placed.Manifest.Digest, nil
}

// eventOf returns the kind of the event of a word, or of taking it back.
func eventOf(w evidence.WordKind, takeBack bool) string {
	kind := "approval.given"
	switch {
	case w == evidence.Approved && takeBack:
		kind = "approval.withdrawn"
	case w == evidence.Stopped && takeBack:
		kind = "promotion.resumed"
	case w == evidence.Stopped:
		kind = "promotion.stopped"
	}
	return kind
}

// speak stores a word, unless who says it has said so already, or ends those that
// are taken back: approvals by who gave them, stops by anyone who may stop.
func (f *Flow) speak(ctx context.Context, tx Tx, act authz.Act, w evidence.Word, takeBack bool) error {
	p := act.Principal()
	w.By = evidence.Grantor{Name: p.Name(), Groups: p.Groups(), At: f.Clock().UTC().Truncate(time.Microsecond)}
	all, err := tx.WordsOn(ctx, w.Kind, w.Repository, []oci.Digest{w.Digest})
	if err != nil {
		return err
	}
	said := slices.DeleteFunc(all, func(o evidence.Word) bool {
		return o.By.Name != w.By.Name && (w.Kind == evidence.Approved || !takeBack)
	})
	switch {
	case takeBack && len(said) == 0:
		return fmt.Errorf("%s@%s: %w: nothing that could be taken back was said about it", w.Repository, w.Digest, repo.ErrNotFound)
	case takeBack:
		for _, o := range said {
			if err := tx.EndWord(ctx, o.ID, w.By); err != nil {
				return err
			}
		}
	case len(said) > 0:
		return nil
	default:
		if err := tx.PutWord(ctx, &w); err != nil {
			return err
		}
	}
	ev, err := f.event(p, eventOf(w.Kind, takeBack))
	if err != nil {
		return err
	}
	ev = ev.On(w.Repository, w.Digest)
	if w.Reason != "" {
		ev = ev.With("reason", w.Reason)
	}
	return tx.Append(ctx, ev)
}

// rejudgeIn asks, for who has said something, for new decisions on d and what it
// names in r, as far as that stands there.
func (f *Flow) rejudgeIn(ctx context.Context, tx Tx, by authz.Principal, r oci.Repository, d oci.Digest) error {
	all, err := repo.WithChildren(ctx, tx, d)
	if err != nil {
		return err
	}
	for _, d := range all {
		_, err := tx.Lookup(ctx, r, repo.Selector{Digest: d}, repo.Viewer{Quarantine: true})
		if errors.Is(err, repo.ErrNotFound) {
			continue
		}
		if err == nil {
			err = tx.EnqueueFor(ctx, by.Name(), f.JudgeJob, r.String()+"@"+d.String(), f.Clock())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func wordsOn(ctx context.Context, tx Tx, kind evidence.WordKind, r oci.Repository, d oci.Digest) ([]api.Word, error) {
	words, err := tx.WordsOn(ctx, kind, r, []oci.Digest{d})
	list := []api.Word{}
	for _, w := range words {
		list = append(list, api.Word{ID: w.ID, By: w.By.Name, Groups: w.By.Groups, At: w.By.At, Reason: w.Reason})
	}
	return list, err
}

// notStopped returns an error that matches ErrStopped if somebody said that one of
// ds, which go along with what is promoted, is not to be promoted.
func (m *move) notStopped(ctx context.Context, tx Tx, d oci.Digest, ds ...oci.Digest) error {
	stops, err := tx.WordsOn(ctx, evidence.Stopped, m.source, append(ds, d))
	if err != nil || len(stops) == 0 {
		return err
	}
	s := stops[0]
	return fmt.Errorf("promoting %s@%s: %w by %s: %s; whoever may stop there lets it go on: bonded resume %s@%s", m.source, d, ErrStopped, s.By.Name, s.Reason, m.source, s.Digest)
}

// sameApprovals returns repo.ErrConflict unless the approvals that a verdict and
// those below it were made by are those that hold.
func (m *move) sameApprovals(ctx context.Context, tx Tx, d oci.Digest, v Verdict) error {
	if !v.Approvable {
		return nil
	}
	words, err := repo.Approvals(ctx, tx, m.to, d)
	if err != nil {
		return err
	}
	if !slices.Equal(evidence.WordIDs(words), v.Decision.Inputs.Approvals) {
		return fmt.Errorf("approvals of %s: %w", d, repo.ErrConflict)
	}
	for _, child := range sortedKeys(v.Children) {
		if err := m.sameApprovals(ctx, tx, child, v.Children[child]); err != nil {
			return err
		}
	}
	return nil
}
