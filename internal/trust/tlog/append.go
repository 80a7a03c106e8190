package tlog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// attempts bounds how often a step is taken again because another process was first.
const attempts = 50

// settleTime bounds the look for what became of a commit whose answer was lost.
const settleTime = 10 * time.Second

// placer makes the entries of a step that begins at the given size.
type placer func(ctx context.Context, size int64) ([]Entry, error)

// Append appends entries in a transaction of the caller's: commit writes the step
// with whatever belongs to it, and returns only when that is durable. An error of
// commit that matches ErrConflict has changed nothing, and commit is called again
// with another step. commit must not call l. The index of the first entry is
// Old.Size of the step.
//
// Append returns the signed checkpoint that has the entries, published. After
// ErrUnwitnessed they are in the log all the same unless no commit was called;
// later calls publish them first.
func (l *Log) Append(ctx context.Context, entries []Entry, commit func(context.Context, *Step) error) ([]byte, error) {
	defer l.lock()()
	if err := l.check(entries); err != nil {
		return nil, err
	}
	p, err := l.step(ctx, func(context.Context, int64) ([]Entry, error) { return entries, nil }, commit)
	if err != nil {
		return nil, fmt.Errorf("appending %d entries to the log %s: %w", len(entries), l.opts.Origin, err)
	}
	signed, err := l.publish(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("publishing the log %s: %w", l.opts.Origin, err)
	}
	return signed, nil
}

func (l *Log) check(entries []Entry) error {
	for _, e := range entries {
		if len(e.Bundle) > l.opts.Layout.maxEntry() {
			return fmt.Errorf("%w: %d bytes, over the limit of %d", ErrTooLarge, len(e.Bundle), l.opts.Layout.maxEntry())
		}
	}
	return nil
}

// taken is a step that was committed.
type taken struct {
	plan   *Plan // nil when there was nothing to append
	signed []byte
}

// step appends what place makes. It is called with mu.
func (l *Log) step(ctx context.Context, place placer, commit func(context.Context, *Step) error) (taken, error) {
	for range attempts {
		s, err := l.current(ctx)
		if err != nil {
			return taken{}, err
		}
		entries, err := place(ctx, s.Size)
		if errors.Is(err, ErrConflict) {
			l.state = nil
			continue
		}
		if err != nil || len(entries) == 0 {
			return taken{}, err
		}
		t, err := l.try(ctx, s, s.Plan(entries), commit)
		if !errors.Is(err, ErrConflict) {
			return t, err
		}
		l.metrics.conflicts.Inc()
		l.state = nil
	}
	return taken{}, fmt.Errorf("%w: others were first %d times in a row", ErrBusy, attempts)
}

// current is the state to append to. A head that was never published, because the
// process ended or the witnesses did not sign, is published before it grows.
func (l *Log) current(ctx context.Context) (*State, error) {
	if l.fatal != nil {
		return nil, l.fatal
	}
	if l.state == nil {
		if _, err := l.load(ctx); err != nil {
			return nil, err
		}
	}
	if l.published < l.state.Size {
		if _, err := l.publishHead(ctx, l.state.Size); err != nil {
			return nil, fmt.Errorf("publishing what was appended before: %w", err)
		}
	}
	return l.state, nil
}

// try takes one step from s.
func (l *Log) try(ctx context.Context, s *State, p *Plan, commit func(context.Context, *Step) error) (taken, error) {
	step := &Step{
		Old:     Checkpoint{Origin: l.opts.Origin, Size: s.Size, Root: s.Root},
		New:     Checkpoint{Origin: l.opts.Origin, Size: p.Next.Size, Root: p.Next.Root},
		Publish: l.opts.Heads == nil && l.opts.Witnesses == nil,
		Full:    p.Full, Tail: p.Tail,
	}
	if l.opts.Index {
		step.Index = p.Leaves
	}
	var err error
	if step.Signed, err = l.opts.sign(step.New); err != nil {
		return taken{}, err
	}
	for _, b := range p.Blobs {
		if err := l.opts.Blobs.Put(ctx, b.Digest, b.Bytes); err != nil {
			return taken{}, fmt.Errorf("storing a tile: %w", err)
		}
	}
	start := l.opts.Clock()
	if err := commit(ctx, step); err != nil {
		if err = l.settle(ctx, step, err); err != nil {
			return taken{}, err
		}
	} else {
		l.state, l.seen = p.Next, step.New
	}
	l.metrics.appended(len(p.Leaves), p.Next.Size, l.opts.Clock().Sub(start))
	if step.Publish {
		l.published = step.New.Size
	}
	return taken{p, step.Signed}, nil
}

// settle finds out what became of a step whose commit returned failed: nil when
// it is in the log.
func (l *Log) settle(ctx context.Context, s *Step, failed error) error {
	if errors.Is(failed, ErrConflict) {
		return failed
	}
	l.state = nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	now, err := l.load(ctx)
	if err != nil || now.Size < s.New.Size {
		return failed
	}
	if root, err := rootAt(ctx, unbounded{l.Reader}, s.New.Size); err != nil || root != s.New.Root {
		return failed
	}
	return nil
}

// publish publishes what a step appended, or what there is when that is nothing.
func (l *Log) publish(ctx context.Context, t taken) ([]byte, error) {
	if t.plan == nil {
		h, err := l.opts.Store.Head(ctx)
		return h.Published, err
	}
	if l.published >= t.plan.Next.Size {
		return t.signed, nil
	}
	return l.publishHead(ctx, t.plan.Next.Size)
}

// publishHead sees to it that a head of at least the given size is published, and
// returns it.
func (l *Log) publishHead(ctx context.Context, size int64) (signed []byte, err error) {
	signed, err = l.tryPublish(ctx, size)
	if l.trouble = err; err != nil {
		l.metrics.unpublished.Inc()
	}
	return signed, err
}

func (l *Log) tryPublish(ctx context.Context, size int64) ([]byte, error) {
	var ahead *overtakenError
	for range attempts {
		h, err := l.opts.Store.Head(ctx)
		if err != nil {
			return nil, err
		}
		if ahead != nil && ahead.size > h.Size {
			return nil, fmt.Errorf("%w: %w: %w, and the database has %d; if the witness is right, %s", ErrUnwitnessed, ErrBehind, ahead, h.Size, behindRemedy)
		}
		if h.PublishedSize >= size {
			l.published = h.PublishedSize
			return h.Published, nil
		}
		signed, err := l.protect(ctx, h)
		if errors.As(err, &ahead) {
			continue // another process publishes a larger one, or this one is old
		}
		if err != nil {
			return nil, err
		}
		if err := l.opts.Store.Publish(ctx, h.Size, signed); err != nil {
			return nil, fmt.Errorf("publishing the head of %d entries: %w", h.Size, err)
		}
		l.published, l.cosigned = h.Size, l.opts.Clock()
		return signed, nil
	}
	return nil, fmt.Errorf("%w: others were first %d times in a row", ErrBusy, attempts)
}

// protect takes a head to where it cannot be taken back, and returns it with the
// signatures of the witnesses.
func (l *Log) protect(ctx context.Context, h Head) ([]byte, error) {
	if l.opts.Heads != nil {
		if err := l.opts.Heads.Save(ctx, l.opts.Origin, h.Checkpoint); err != nil {
			return nil, fmt.Errorf("saving the head of %d entries to the head store: %w", h.Size, err)
		}
	}
	if l.opts.Witnesses == nil {
		return h.Checkpoint, nil
	}
	return l.opts.Witnesses.Cosign(ctx, h.Checkpoint, func(from int64) ([]Hash, error) {
		return ProveConsistency(ctx, unbounded{l.Reader}, from, h.Size)
	})
}
