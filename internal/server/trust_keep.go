package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/durable"
	"github.com/bonded-dev/bonded/internal/trust"
)

// keepEvery is how often the keeper looks after the instance.
const keepEvery = 10 * time.Second

// soon is how long before the end of a certificate /health says so.
const soon = 30 * 24 * time.Hour

// keeper keeps fresh what clients trust: it signs the TUF timestamp again, and
// takes over what another process rotated.
type keeper struct {
	*Server
	start, stop sync.Once
	quit, ended chan struct{}

	mu      sync.Mutex // guards the rest
	written time.Time  // of the record that is loaded
	due     time.Time  // of the next signature
	begun   bool       // something was signed since the start
	failed  error      // the last look; nil when it was good
	rekeyed time.Time  // when the log was first seen under the key in use
	swept   bool       // batches were proved under it since
}

func newKeeper(s *Server) *keeper {
	return &keeper{Server: s, quit: make(chan struct{}), ended: make(chan struct{})}
}

// Start lets it look.
func (k *keeper) Start() {
	k.start.Do(func() { go k.run() })
}

// Stop ends it, or ctx.
func (k *keeper) Stop(ctx context.Context) error {
	k.start.Do(func() { close(k.ended) }) // never started
	k.stop.Do(func() { close(k.quit) })
	select {
	case <-k.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stopping the keeper of the keys: %w", context.Cause(ctx))
	}
}

func (k *keeper) run() {
	defer close(k.ended)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-k.quit; cancel() }()
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-k.quit:
			return
		case <-tick.C:
		}
		if err := k.refresh(ctx); err != nil && ctx.Err() == nil {
			k.log.ErrorContext(ctx, "keeping the keys of this instance fresh", "error", err)
		}
	}
}

// refresh looks once.
func (k *keeper) refresh(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = k.reload(ctx)
	if k.trust.stale.Load() {
		k.failed = errors.Join(k.failed, k.publish(ctx))
	}
	k.failed = errors.Join(k.failed, k.sign(ctx))
	if k.begun {
		k.failed = errors.Join(k.failed, k.reanchor(ctx))
	}
	return k.failed
}

func (k *keeper) reload(ctx context.Context) error {
	rec, err := trust.Peek(k.trust.dir)
	if err != nil || rec.Written.Equal(k.written) {
		return err
	}
	if !k.written.IsZero() {
		if err := k.trust.instance.Reload(ctx); err != nil {
			return err
		}
		if err := errors.Join(k.rekey(ctx), k.wireWitness()); err != nil {
			return err
		}
	}
	if err := k.note(ctx); err != nil {
		return err
	}
	k.written, k.due = rec.Written, time.Time{}
	return nil
}

// versionName is a file in the trust folder with the version that is in the
// audit log.
const versionName = "version"

// note records that keys were rotated, whether this process saw it or not. What
// was done and not noted is recorded twice.
func (k *keeper) note(ctx context.Context) error {
	name, now := filepath.Join(k.trust.dir, versionName), k.trust.instance.Version()
	before, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || string(before) == now {
		return err
	}
	if len(before) > 0 {
		e, err := k.event(authz.Internal("init"), "trust.rotated")
		if err != nil {
			return err
		}
		if err := k.record(ctx, e.With("origin", k.trust.instance.Origin()).With("version", now).With("before", string(before))); err != nil {
			return err
		}
		k.log.InfoContext(ctx, "the keys of this instance were rotated", "version", now)
	}
	return durable.WriteFile(name, []byte(now), 0o600)
}

func (k *keeper) sign(ctx context.Context) (err error) {
	if k.clock().Before(k.due) {
		return nil
	}
	sign := k.trust.tuf.Refresh
	if !k.begun { // what is stored may be what a backup brought back
		sign = k.trust.tuf.Renew
	}
	k.due, err = sign(ctx)
	k.begun = k.begun || err == nil
	return err
}

// check says what is wrong with what clients trust; "" when nothing is.
func (k *keeper) check() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed != nil {
		return k.failed.Error()
	}
	for _, l := range k.trust.logs {
		if err := l.Status().Err; err != nil {
			return err.Error()
		}
	}
	return k.trust.sign.problem()
}

// trustNotes say what is weaker about the keys than it could be.
func (s *Server) trustNotes(notes map[string]string) {
	t := s.trust
	if t == nil {
		return
	}
	if why := t.instance.Places().Warning; why != "" && !s.dev {
		notes["offline keys"] = why
	}
	if t.stale.Load() {
		notes["published keys"] = "clients are told of another URL or of other witnesses, or get files that are missing or not whole: bonded trust rotate --offline-keys FILE"
	}
	if why := t.anchorNote(); why != "" {
		notes["former log key"] = why
	}
	if t.protection() == "" && !s.dev {
		notes["fork protection"] = "none: name a folder on another disk as trust.head_store, or witnesses"
	}
	for _, e := range t.instance.Expiries() {
		if left := e.At.Sub(s.clock()); left < soon {
			notes["expiry of "+e.What] = fmt.Sprintf("on %s: bonded trust rotate makes another, with the offline keys", e.At.UTC().Format(time.DateOnly))
		}
	}
}

// protection says what would find out a fork of the transparency log, "" when
// nothing would.
func (t *trusted) protection() string {
	var by []string
	for _, l := range t.logs {
		st := l.Status()
		if st.HeadStore {
			by = append(by, "a head store")
		}
		if st.Witnesses > 0 {
			by = append(by, fmt.Sprintf("%d of %d witnesses", st.Quorum, st.Witnesses))
		}
	}
	slices.Sort(by)
	return strings.Join(slices.Compact(by), ", ")
}

// trustFacts say where keys live and when things end, for /health.
func (s *Server) trustFacts(ctx context.Context, notes map[string]string) {
	t := s.trust
	guard := t.instance.Places()
	at := map[string][]string{}
	for _, k := range guard.Keys {
		at[k.Place.Strength.String()] = append(at[k.Place.Strength.String()], string(k.Slot))
	}
	var kinds []string
	for kind, slots := range at {
		kinds = append(kinds, fmt.Sprintf("%s (%s)", kind, strings.Join(slots, ", ")))
	}
	slices.Sort(kinds)
	notes["keys"] = fmt.Sprintf("the weakest: %s; %s", guard.Weakest, strings.Join(kinds, "; "))
	notes["fork protection"] = cmp.Or(notes["fork protection"], t.protection(), "none")
	var lines []string
	for _, e := range t.endings(ctx) {
		lines = append(lines, e.What+" "+e.At.UTC().Format(time.DateOnly))
	}
	notes["expiries"] = strings.Join(lines, ", ")
}
