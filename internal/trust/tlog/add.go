package tlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	sumdb "golang.org/x/mod/sumdb/tlog"
)

// Added is an entry in the log, with its proof.
type Added struct {
	Index int64
	Leaf  Hash
	// Checkpoint is a published head that has the entry, and Signed the same with
	// its signatures. Proof is of the entry in it.
	Checkpoint Checkpoint
	Signed     []byte
	Proof      []Hash
	// Old says that the entry was there before.
	Old bool
}

// waiting is an entry on its way.
type waiting struct {
	ctx  context.Context
	make func(index int64) (Entry, error)
	// entry is what is to be appended, once it is made; old where it is already.
	entry Entry
	index int64
	old   bool
	err   error
	done  chan Added // closed without a value when err says why
}

// Add appends an entry and returns when it is published. The entries of several
// callers are appended together. Errors match ErrTooLarge, ErrBusy,
// ErrUnwitnessed and ErrStopped; the first two say that the entry is not in the
// log, after others it may be. The caller may end ctx and leave; the entry may
// then be appended all the same.
func (l *Log) Add(ctx context.Context, e Entry) (Added, error) {
	return l.AddAt(ctx, func(int64) (Entry, error) { return e, nil })
}

// AddAt is Add for an entry that contains its index. make may be called more
// than once; its last result counts. With Dedupe it gets an index that may not
// become that of the entry.
func (l *Log) AddAt(ctx context.Context, make func(index int64) (Entry, error)) (Added, error) {
	w := &waiting{ctx: ctx, make: make, done: newDone()}
	if err := l.enqueue(w); err != nil {
		return Added{}, fmt.Errorf("adding to the log %s: %w", l.opts.Origin, err)
	}
	select {
	case <-ctx.Done():
		return Added{}, fmt.Errorf("adding to the log %s: %w", l.opts.Origin, context.Cause(ctx))
	case a, ok := <-w.done:
		if !ok {
			return Added{}, fmt.Errorf("adding to the log %s: %w", l.opts.Origin, w.err)
		}
		return a, nil
	}
}

func newDone() chan Added { return make(chan Added, 1) }

func (l *Log) enqueue(w *waiting) error {
	l.gate.RLock()
	defer l.gate.RUnlock()
	if !l.running {
		return ErrStopped
	}
	select {
	case l.queue <- w:
		return nil
	default:
		return fmt.Errorf("%w: %d entries wait", ErrBusy, cap(l.queue))
	}
}

// Find returns the index of the first published entry with a leaf, in a log with
// Index. Errors match ErrNotFound.
func (l *Log) Find(ctx context.Context, leaf Hash) (int64, error) {
	h, err := l.opts.Store.Head(ctx)
	if err != nil {
		return 0, fmt.Errorf("finding the leaf %s: %w", leaf, err)
	}
	found, err := l.opts.Store.Find(ctx, []Hash{leaf})
	if err != nil {
		return 0, fmt.Errorf("finding the leaf %s: %w", leaf, err)
	}
	index, ok := found[leaf]
	if !ok || index >= h.PublishedSize {
		return 0, fmt.Errorf("finding the leaf %s: %w", leaf, ErrNotFound)
	}
	return index, nil
}

// Start lets Add work. A log that was stopped does not start again.
func (l *Log) Start() {
	l.start.Do(func() {
		l.gate.Lock()
		defer l.gate.Unlock()
		l.running = true
		go l.run()
	})
}

// Stop ends Add, once what waits is done, or ctx.
func (l *Log) Stop(ctx context.Context) error {
	l.start.Do(func() { close(l.ended) }) // never started
	l.gate.Lock()
	if l.running {
		l.running = false
		close(l.quit)
	}
	l.gate.Unlock()
	select {
	case <-l.ended:
	case <-ctx.Done():
		return fmt.Errorf("stopping the log %s: %w", l.opts.Origin, context.Cause(ctx))
	}
	if l.opts.Witnesses != nil {
		l.opts.Witnesses.wait()
	}
	return nil
}

func (l *Log) run() {
	defer close(l.ended)
	refresh := time.NewTicker(l.opts.Refresh)
	defer refresh.Stop()
	l.refresh()
	for {
		select {
		case w := <-l.queue:
			l.add(l.gather(w))
		case <-refresh.C:
			l.refresh()
		case <-l.quit:
			for len(l.queue) > 0 { // nobody adds to it any more
				l.add(l.gather(<-l.queue))
			}
			return
		}
	}
}

// gather waits for more entries to go with the first.
func (l *Log) gather(first *waiting) []*waiting {
	batch := []*waiting{first}
	wait := time.NewTimer(l.opts.Wait)
	defer wait.Stop()
	for len(batch) < l.opts.Batch {
		select {
		case w := <-l.queue:
			batch = append(batch, w)
			continue
		default:
		}
		select {
		case w := <-l.queue:
			batch = append(batch, w)
		case <-wait.C:
			return batch
		case <-l.quit:
			return batch
		}
	}
	return batch
}

// add appends a batch and tells those who wait.
func (l *Log) add(batch []*waiting) {
	ctx := context.Background()
	defer l.lock()()
	live := batch[:0]
	for _, w := range batch {
		if w.ctx.Err() == nil {
			live = append(live, w)
		}
	}
	t, err := l.step(ctx, func(ctx context.Context, size int64) ([]Entry, error) { return l.place(ctx, live, size) }, l.opts.Store.Append)
	var signed []byte
	if err == nil {
		signed, err = l.publish(ctx, t)
	}
	if err != nil {
		l.opts.Logger.ErrorContext(ctx, "appending to the log", "log", l.opts.Origin, "entries", len(live), "error", err)
	}
	l.note()
	for _, w := range live {
		l.answer(ctx, w, t, signed, err)
	}
}

// place makes the entries of a batch, and gives each its index.
func (l *Log) place(ctx context.Context, batch []*waiting, size int64) ([]Entry, error) {
	for _, w := range batch {
		w.index, w.old = size, false
		if w.entry, w.err = w.make(size); w.err == nil {
			w.err = l.check([]Entry{w.entry})
		}
		if w.err == nil && !l.opts.Dedupe {
			size++
		}
	}
	if l.opts.Dedupe {
		if err := l.dedupe(ctx, batch, size); err != nil {
			return nil, err
		}
	}
	entries := make([]Entry, 0, len(batch))
	for _, w := range batch {
		if w.err == nil && !w.old {
			entries = append(entries, w.entry)
		}
	}
	return entries, nil
}

// dedupe gives entries that are in the log, or earlier in the batch, the index
// they have there. Nothing is appended between this look and the commit, or the
// commit fails; what another process appended before it is ErrConflict.
func (l *Log) dedupe(ctx context.Context, batch []*waiting, size int64) error {
	var leaves []Hash
	for _, w := range batch {
		if w.err == nil {
			leaves = append(leaves, w.entry.Leaf)
		}
	}
	found, err := l.opts.Store.Find(ctx, leaves)
	if err != nil {
		return fmt.Errorf("looking for entries that are there: %w", err)
	}
	for _, index := range found {
		if index >= size {
			return ErrConflict
		}
	}
	for _, w := range batch {
		if w.err != nil {
			continue
		}
		if w.index, w.old = found[w.entry.Leaf]; !w.old {
			w.index = size
			found[w.entry.Leaf] = size
			size++
		}
	}
	return nil
}

// answer tells one who waits.
func (l *Log) answer(ctx context.Context, w *waiting, t taken, signed []byte, err error) {
	if w.err == nil {
		w.err = err
	}
	if w.err == nil {
		var a Added
		if a, w.err = l.proved(ctx, w, t, signed); w.err == nil {
			w.done <- a
		}
	}
	close(w.done)
}

// proved is what is known of an entry that was appended, or was there.
func (l *Log) proved(ctx context.Context, w *waiting, t taken, signed []byte) (Added, error) {
	c, err := checkpointOf(signed)
	if err != nil {
		return Added{}, err
	}
	a := Added{Index: w.index, Leaf: w.entry.Leaf, Checkpoint: c, Signed: signed, Old: w.old}
	if t.plan != nil && c.Size == t.plan.Next.Size && w.index >= c.Size-int64(len(t.plan.Leaves)) {
		a.Proof, err = proveNew(t.plan, w.index)
	} else {
		a.Proof, err = ProveInclusion(ctx, unbounded{l.Reader}, w.index, c.Size)
	}
	if err == nil {
		err = VerifyInclusion(a.Proof, c, a.Index, a.Leaf)
	}
	if err != nil {
		return Added{}, fmt.Errorf("proving entry %d: %w", w.index, err)
	}
	return a, nil
}

// proveNew proves an entry of a plan in its tree.
func proveNew(p *Plan, index int64) ([]Hash, error) {
	return sumdb.ProveRecord(p.Next.Size, index, &p.edge)
}

// refresh publishes what was left unpublished, and asks the witnesses again when
// what they said is old.
func (l *Log) refresh() {
	ctx := context.Background()
	defer l.lock()()
	if err := l.renew(ctx); err != nil {
		l.opts.Logger.ErrorContext(ctx, "publishing the log", "log", l.opts.Origin, "error", err)
	}
}

func (l *Log) renew(ctx context.Context) error {
	if _, err := l.current(ctx); err != nil {
		return err
	}
	if l.opts.Witnesses == nil || l.opts.Clock().Sub(l.cosigned) < l.opts.Refresh {
		return nil
	}
	h, err := l.opts.Store.Head(ctx)
	if err != nil {
		return err
	}
	signed, err := l.protect(ctx, h)
	if errors.Is(err, errOvertaken) {
		return nil
	}
	if err != nil {
		return err
	}
	l.cosigned = l.opts.Clock()
	return l.opts.Store.Publish(ctx, h.Size, signed)
}
