package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// answer is what an Entry has said.
type answer struct {
	outcome  api.Outcome
	sentence string // unless outcome is allow
}

// errUnasked ends a transaction in which it was found that Entry is to be asked.
var errUnasked = errors.New("the gate was not asked yet")

// noteTags notes where tags are to point. What is in the intake takes them along
// when it is let in. For what is admitted already a tag is an entry of its own: it
// moves when the job of this push has found that the gate would let it in, and if
// the gate says no at once, the push is refused and changes nothing. A tag that
// points there is confirmed, which voids what others asked of it before.
func (p *putting) noteTags(ctx context.Context, tx Tx) error {
	r, d := p.act.Repository(), p.m.Digest
	p.waiting = nil
	var inForce []string
	if p.state == repo.Admitted {
		var err error
		if inForce, err = tx.TagsOf(ctx, r, d); err != nil {
			return err
		}
	}
	for _, tag := range p.tags {
		if slices.Contains(inForce, tag) {
			if _, err := tx.SetTag(ctx, r, tag, d); err != nil {
				return err
			}
			continue
		}
		if p.state == repo.Admitted {
			p.waiting = append(p.waiting, tag)
		}
		if err := tx.SetPending(ctx, r, tag, d, p.act.Principal().Name()); err != nil {
			return err
		}
	}
	switch {
	case len(p.waiting) == 0:
		return nil
	case p.answer == nil:
		return errUnasked
	case p.answer.outcome == api.Deny:
		return fmt.Errorf("%w: tag %s of %s stays as it is: %s", ErrRefused, strings.Join(p.waiting, ", "), r, p.answer.sentence)
	}
	return nil
}

// asked is how long a push waits for the answer of a gate, which is milliseconds
// where the image was analysed before.
const asked = 2 * time.Second

// ask asks Entry, for one push of a principal at a time: what is not answered now
// is found out by the job of the push.
func (f *Flow) ask(ctx context.Context, principal string, r oci.Repository, d oci.Digest) *answer {
	later := &answer{api.CannotTell, "its gate is still to be asked whether it would let it in now"}
	f.mu.Lock()
	busy := f.asking[principal]
	f.asking[principal] = true
	f.mu.Unlock()
	if busy {
		return later
	}
	defer func() {
		f.mu.Lock()
		delete(f.asking, principal)
		f.mu.Unlock()
	}()
	within, cancel := context.WithTimeout(ctx, asked)
	defer cancel()
	outcome, sentence, err := f.Entry.Enter(within, r, d)
	if err != nil {
		if within.Err() == nil {
			f.Log.WarnContext(ctx, "asking a gate about a tag; it will be asked again", "repository", r, "digest", d, "error", err)
		}
		return later
	}
	return &answer{outcome, sentence}
}
