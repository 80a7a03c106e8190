package db

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/db/postgres"
)

// Commit says what a committed transaction left for others to do.
type Commit struct {
	Kinds  []string // kinds of the jobs it queued, each once
	Events bool     // it appended events, which wait for their numbers
	// Unknown: something may have been committed elsewhere that nobody told us
	// of, so look at everything.
	Unknown bool
}

func (c Commit) none() bool { return len(c.Kinds) == 0 && !c.Events && !c.Unknown }

func (c *Commit) queued(kind string) {
	if !slices.Contains(c.Kinds, kind) {
		c.Kinds = append(c.Kinds, kind)
	}
}

func (c *Commit) add(other Commit) {
	for _, k := range other.Kinds {
		c.queued(k)
	}
	c.Events = c.Events || other.Events
	c.Unknown = c.Unknown || other.Unknown
}

// hooks are the functions that want to know.
type hooks struct {
	mu  sync.RWMutex
	fns []func(Commit)
}

// OnCommit calls fn after each commit, of any process on this database, that
// queued jobs or appended events. fn must not block: it wakes somebody. A call
// may be lost with a process or a connection, so whoever waits for one also
// looks by itself now and then.
func (db *DB) OnCommit(fn func(Commit)) {
	db.hooks.mu.Lock()
	defer db.hooks.mu.Unlock()
	db.hooks.fns = append(slices.Clone(db.hooks.fns), fn)
}

func (h *hooks) call(c Commit) {
	h.mu.RLock()
	fns := h.fns
	h.mu.RUnlock()
	for _, fn := range fns {
		fn(c)
	}
}

// tellEvery bounds how often this process notifies the others. A NOTIFY in
// each transaction would make all commits of the server wait for each other.
const tellEvery = 20 * time.Millisecond

// waker tells other processes of commits and hears of theirs.
type waker struct {
	store  *postgres.Store
	logger *slog.Logger
	self   string // names this process in messages, so that it skips its own
	heard  func(Commit)
	cancel context.CancelFunc
	ended  sync.WaitGroup
	woken  chan struct{}

	mu   sync.Mutex // guards left
	left Commit
}

func newWaker(s *postgres.Store, random io.Reader, logger *slog.Logger, heard func(Commit)) (*waker, error) {
	var id [8]byte
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &waker{
		store: s, logger: logger, self: hex.EncodeToString(id[:]), heard: heard,
		cancel: cancel, woken: make(chan struct{}, 1),
	}
	w.ended.Go(func() { s.Listen(ctx, w.hear) })
	w.ended.Go(func() { w.run(ctx) })
	return w, nil
}

func (w *waker) stop() {
	w.cancel()
	w.ended.Wait()
}

// tell notes what the others should know.
func (w *waker) tell(c Commit) {
	w.mu.Lock()
	w.left.add(c)
	w.mu.Unlock()
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

func (w *waker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.woken:
		}
		w.mu.Lock()
		c := w.left
		w.left = Commit{}
		w.mu.Unlock()
		if err := w.store.Notify(ctx, w.encode(c)); err != nil && ctx.Err() == nil {
			w.logger.WarnContext(ctx, "notifying other processes; they will look by themselves", "error", err)
		}
		t := time.NewTimer(tellEvery)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// Messages are words: who sends, "!" when there are events, kinds of jobs.
func (w *waker) encode(c Commit) string {
	words := []string{w.self}
	if c.Events {
		words = append(words, "!")
	}
	return strings.Join(append(words, c.Kinds...), " ")
}

func (w *waker) hear(message string) {
	words := strings.Fields(message)
	if len(words) == 0 {
		w.heard(Commit{Unknown: true})
		return
	}
	if words[0] == w.self {
		return
	}
	var c Commit
	for _, word := range words[1:] {
		if word == "!" {
			c.Events = true
		} else {
			c.queued(word)
		}
	}
	w.heard(c)
}
