package tlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/blob"
)

// Options are what a Log works with.
type Options struct {
	// Origin is the name of the log, in every checkpoint and for ever.
	Origin string
	Layout Layout
	Store  Store
	Blobs  blob.Store
	// Signer signs the checkpoints and Verifier checks that it did; both have the
	// Origin as name. Log.Rekey replaces them.
	Signer   note.Signer
	Verifier note.Verifier
	// Index lets leaves be found by their hash. Dedupe, which needs it, makes Add
	// return the old index of an entry that is there.
	Index, Dedupe bool
	// Heads is where the newest head goes that no backup restores. Optional: none.
	Heads HeadStore
	// Witnesses cosign. Optional: none.
	Witnesses *Witnesses
	Clock     func() time.Time
	// Wait is how long an entry waits for company. Optional: 20 ms.
	Wait time.Duration
	// Batch is how many entries are added in one commit. Optional: 1024.
	Batch int
	// Queue is how many entries may wait. Optional: 8192.
	Queue int
	// Refresh is how long cosignatures of a log that does not grow are left as
	// they are. Optional: 10 minutes.
	Refresh    time.Duration
	Logger     *slog.Logger          // Optional: none
	Registerer prometheus.Registerer // Optional: none
}

func (o *Options) defaults() error {
	switch {
	case o.Store == nil || o.Blobs == nil || o.Signer == nil || o.Verifier == nil || o.Clock == nil:
		return errors.New("a log needs a store, blobs, a signer, its verifier and a clock")
	case o.Signer.Name() != o.Origin || o.Verifier.Name() != o.Origin || o.Signer.KeyHash() != o.Verifier.KeyHash():
		return fmt.Errorf("the log %s needs a signer and its verifier of that name, and has %s and %s", o.Origin, o.Signer.Name(), o.Verifier.Name())
	case o.Dedupe && !o.Index:
		return fmt.Errorf("the log %s has Dedupe without Index", o.Origin)
	}
	set(&o.Wait, 20*time.Millisecond)
	set(&o.Batch, 1024)
	set(&o.Queue, 8192)
	set(&o.Refresh, 10*time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func set[T int | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// Log appends to a log. It is safe for concurrent use.
type Log struct {
	*Reader
	opts    Options
	metrics *metrics

	queue   chan *waiting
	quit    chan struct{}
	ended   chan struct{}
	start   sync.Once
	gate    sync.RWMutex // held for reading while an entry is put into the queue
	running bool         // guarded by gate

	mu sync.Mutex // one step at a time; guards what follows
	// state is the log as this process left it; nil when it must be loaded.
	state *State
	// seen is the newest head that this process has seen: later ones extend it.
	seen Checkpoint
	// published is the size of the newest checkpoint known to be published, and
	// cosigned when that was.
	published int64
	cosigned  time.Time
	fatal     error // ends appending for good
	trouble   error // of the newest attempt to publish

	status atomic.Pointer[Status] // as of when mu was last given back
}

// Create begins a log that has never been: it is for the moment in which its key
// is made, and no other. It is refused with ErrExists when the log is there, and
// with ErrBehind when the head store knows one, as an empty database then means
// that the log was lost.
func Create(ctx context.Context, o Options) error {
	if err := o.defaults(); err != nil {
		return err
	}
	if err := o.create(ctx); err != nil {
		return fmt.Errorf("beginning the log %s: %w", o.Origin, err)
	}
	return nil
}

func (o *Options) create(ctx context.Context) error {
	stored, err := o.stored(ctx)
	if err != nil {
		return err
	}
	if stored != nil {
		return fmt.Errorf("%w: it has one of %d entries under this name, and the database none", ErrBehind, stored.Size)
	}
	first := Checkpoint{Origin: o.Origin, Root: EmptyRoot()}
	signed, err := o.sign(first)
	if err != nil {
		return err
	}
	h := Head{Origin: o.Origin, Root: first.Root, Checkpoint: signed, Published: signed}
	if err := o.Store.Create(ctx, h); err != nil {
		return err
	}
	if o.Heads != nil {
		return o.Heads.Save(ctx, o.Origin, signed)
	}
	return nil
}

// Open opens a log that Create began, and compares it with the head store.
// Errors match ErrNoLog, ErrOrigin, ErrBehind, ErrFork, ErrDamaged.
func Open(ctx context.Context, o Options) (*Log, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	l := &Log{
		Reader: &Reader{Layout: o.Layout, Store: o.Store, Blobs: o.Blobs}, opts: o, metrics: newMetrics(o.Registerer, o.Origin),
		queue: make(chan *waiting, o.Queue), quit: make(chan struct{}), ended: make(chan struct{}),
	}
	defer l.lock()()
	if err := l.open(ctx); err != nil {
		return nil, fmt.Errorf("opening the log %s: %w", o.Origin, err)
	}
	return l, nil
}

func (l *Log) open(ctx context.Context) error {
	// The head store first: what others append meanwhile only makes it older.
	stored, err := l.opts.stored(ctx)
	if err != nil {
		return err
	}
	if stored != nil {
		l.seen = *stored
	}
	_, err = l.load(ctx)
	if errors.Is(err, ErrNoLog) && stored != nil {
		return fmt.Errorf("%w: it has a log of %d entries, and the database none; %s", ErrBehind, stored.Size, behindRemedy)
	}
	if err != nil || stored != nil || l.opts.Heads == nil {
		return err
	}
	return l.adopt(ctx)
}

// adopt begins to use a head store that has nothing of this log. That is one that
// is new, or one that was emptied: it cannot tell.
func (l *Log) adopt(ctx context.Context) error {
	h, err := l.opts.Store.Head(ctx)
	if err != nil {
		return err
	}
	if h.Size > 0 {
		l.opts.Logger.WarnContext(ctx, "the head store has nothing of this log; it protects from now on", "log", h.Origin, "entries", h.Size)
	}
	return l.opts.Heads.Save(ctx, h.Origin, h.Checkpoint)
}

const behindRemedy = "stop here, bring back the newest database, or give up this log: begin one with another origin and key, and tell those who trust it"

// sign signs a checkpoint and looks at what was signed.
func (o *Options) sign(c Checkpoint) ([]byte, error) {
	signed, err := note.Sign(&note.Note{Text: c.Text()}, o.Signer)
	if err != nil {
		return nil, fmt.Errorf("signing the head of %d entries: %w", c.Size, err)
	}
	if got, err := OpenCheckpoint(signed, o.Origin, o.Verifier); err != nil || got != c {
		return nil, fmt.Errorf("signing the head of %d entries: the key signed something else: %w", c.Size, errors.Join(err, ErrSignature))
	}
	return signed, nil
}

// stored returns what the head store knows; nil when that is nothing.
func (o *Options) stored(ctx context.Context) (*Checkpoint, error) {
	if o.Heads == nil {
		return nil, nil
	}
	signed, err := o.Heads.Load(ctx, o.Origin)
	if err != nil || signed == nil {
		return nil, err
	}
	c, err := OpenCheckpoint(signed, o.Origin, o.Verifier)
	if err != nil {
		return nil, fmt.Errorf("reading the head store: %w", err)
	}
	return &c, nil
}

// load reads the state from the store, and checks that it is one of the history
// seen so far. It is called with mu.
func (l *Log) load(ctx context.Context) (*State, error) {
	head, pieces, err := l.opts.Store.Tail(ctx)
	if err != nil {
		return nil, err
	}
	if head.Origin != l.opts.Origin {
		return nil, fmt.Errorf("%w: %s in the database, %s in the configuration; it cannot be changed", ErrOrigin, head.Origin, l.opts.Origin)
	}
	s, err := l.assemble(ctx, head, pieces)
	if err != nil {
		return nil, err
	}
	if err := l.extends(ctx, head); err != nil {
		l.fatal = err
		return nil, err
	}
	l.state, l.published = s, head.PublishedSize
	l.seen = Checkpoint{Origin: head.Origin, Size: head.Size, Root: head.Root}
	return s, nil
}

// extends checks that head goes on from what was seen.
func (l *Log) extends(ctx context.Context, head Head) error {
	seen := l.seen
	switch {
	case seen.Origin == "" || seen.Size == head.Size && seen.Root == head.Root:
		return nil
	case seen.Size > head.Size:
		return fmt.Errorf("%w: the log had %d entries and has %d in the database, which was restored from a backup; %s", ErrBehind, seen.Size, head.Size, behindRemedy)
	case seen.Size == head.Size:
		return fmt.Errorf("%w: of %d entries with root %s, and with root %s in the database; do not use this database, it is not the one the log was written with", ErrFork, seen.Size, seen.Root, head.Root)
	}
	root, err := rootAt(ctx, unbounded{l.Reader}, seen.Size)
	if err != nil {
		return fmt.Errorf("comparing with the head of %d entries: %w", seen.Size, err)
	}
	if root != seen.Root {
		return fmt.Errorf("%w: at %d entries the root was %s, and is %s in the database; do not use this database, it is not the one the log was written with", ErrFork, seen.Size, seen.Root, root)
	}
	return nil
}

// Status is how a log does, for people.
type Status struct {
	Size, Published int64
	// HeadStore and Witnesses say what protects against a fork: without either
	// nothing does. Of Witnesses, Quorum must sign.
	HeadStore         bool
	Witnesses, Quorum int
	// Err is why the log appends no more, for good; nil while it does.
	Err error
	// Unpublished is why what was appended last is not published yet, and will be
	// tried again; nil when it is.
	Unpublished error
}

// Status says how the log did after its newest step. It does not wait for one.
func (l *Log) Status() Status { return *l.status.Load() }

// lock takes mu, and returns what gives it back.
func (l *Log) lock() func() {
	l.mu.Lock()
	return func() {
		l.note()
		l.mu.Unlock()
	}
}

// note lets Status know. It is called with mu, before anybody is told what was done.
func (l *Log) note() {
	s := &Status{Size: l.seen.Size, Published: l.published, HeadStore: l.opts.Heads != nil, Err: l.fatal, Unpublished: l.trouble}
	if w := l.opts.Witnesses; w != nil {
		s.Witnesses, s.Quorum = len(w.opts.Witnesses), w.opts.Quorum
	}
	l.status.Store(s)
}
