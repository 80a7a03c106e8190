package revoke

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/job"
)

// Parts of the work that a revocation leaves where it touches much. The key of a
// job is the number of the revocation and one of these.
const (
	tell = "tell" // record what has become of what is withdrawn
	rest = "rest" // have the rest judged again
	back = "back" // give back what a revocation had withdrawn that was lifted
	drop = "drop" // discard it, if it never came into force
)

// turn is how many transactions one run of a job commits before others have
// their turn.
const turn = 16

// queue asks for a part of the work.
func (a *acting) queue(ctx context.Context, part string) error {
	return a.tx.Enqueue(ctx, a.WorkJob, a.key(part), a.Clock())
}

func (a *acting) key(part string) string { return fmt.Sprintf("%d/%s", a.r.ID, part) }

// Handle is the handler of WorkJob. What a run has committed it does not do
// again.
func (f *Flow) Handle(ctx context.Context, j job.Job) error {
	number, part, _ := strings.Cut(j.Key, "/")
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return fmt.Errorf("reading job key %q: %v: %w", j.Key, err, job.ErrPermanent)
	}
	a := &acting{Flow: f, by: authz.Internal("revoke")}
	if part == drop {
		return a.discard(ctx, id)
	}
	var lifted bool
	err = f.View(ctx, func(tx Tx) error {
		rec, err := tx.Revocation(ctx, id)
		if err == nil {
			a.r, lifted = rec.Revocation, rec.Lifted != nil
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case part == rest:
		return a.doRest(ctx, lifted)
	}
	for range turn {
		left, err := a.doSome(ctx, part)
		if err != nil || !left {
			return err
		}
	}
	return a.Update(ctx, func(tx Tx) error {
		a.tx = tx
		return a.queue(ctx, part)
	})
}

// discard removes what was prepared and left behind.
func (a *acting) discard(ctx context.Context, id int64) error {
	for left := true; left; {
		err := a.Update(ctx, func(tx Tx) (err error) {
			left, err = tx.Discard(ctx, id, a.AtOnce)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// doSome commits what one transaction does of a part. It reports whether there is
// more; after the last of it the rest is asked for.
func (a *acting) doSome(ctx context.Context, part string) (left bool, err error) {
	err = a.Update(ctx, func(tx Tx) error {
		a.tx, left = tx, true
		marks, err := tx.Marked(ctx, a.r.ID, Taken, a.AtOnce)
		if err != nil {
			return err
		}
		if len(marks) > 0 {
			return a.tell(ctx, marks)
		}
		if part == back {
			if marks, err = tx.Marked(ctx, a.r.ID, Told, a.AtOnce); err != nil {
				return err
			}
		}
		if len(marks) > 0 {
			return a.giveBack(ctx, &survey{}, marks)
		}
		left = false
		return a.queue(ctx, rest)
	})
	return left, err
}

// doRest has all judged again that the revocation is about and has not
// withdrawn, or had not. What has come to stand while it was made is withdrawn.
func (a *acting) doRest(ctx context.Context, lifted bool) error {
	var s *survey
	var err error
	if lifted {
		if s, err = a.lookAround(ctx); err != nil {
			return err
		}
		for _, h := range s.hits {
			s.rest = append(s.rest, h.at)
		}
	} else if s, err = a.catchUp(ctx); err != nil {
		return err
	}
	for left := s.rest; len(left) > 0; {
		n := min(len(left), a.AtOnce)
		if err := a.update(ctx, func() error { return a.rejudge(ctx, left[:n]) }); err != nil {
			return err
		}
		left = left[n:]
	}
	return a.update(ctx, func() error {
		if lifted {
			return a.judgeZones(ctx, s)
		}
		return a.tx.Rejudging(ctx, a.r.ID, len(s.rest))
	})
}

func (a *acting) update(ctx context.Context, fn func() error) error {
	return a.Update(ctx, func(tx Tx) error {
		a.tx = tx
		return fn()
	})
}
