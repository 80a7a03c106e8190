package sign

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"
)

// PayloadHash is what of a payload is in a tree.
func PayloadHash(payload []byte) Hash { return sha256.Sum256(payload) }

// Every is how often it is looked for decisions that are in no batch.
const Every = 2 * time.Second

// Pauses between tries while nothing can be signed.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// Keeper signs what nobody waits for, within seconds.
type Keeper struct {
	flow        *Flow
	every       time.Duration
	start, stop sync.Once
	cancel      context.CancelFunc
	ctx         context.Context
	ended, idle chan struct{}
}

// NewKeeper returns a Keeper that does nothing until Start. every is optional:
// Every.
func NewKeeper(f *Flow, every time.Duration) *Keeper {
	if every == 0 {
		every = Every
	}
	k := &Keeper{flow: f, every: every, ended: make(chan struct{}), idle: make(chan struct{})}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

// Start takes up what was left, and begins. Further calls do nothing, also after
// Stop.
func (k *Keeper) Start() { k.start.Do(func() { go k.run() }) }

// Stop ends it, and what is made for those who needed it; what was begun is
// finished after the next start.
func (k *Keeper) Stop(ctx context.Context) error {
	k.start.Do(func() { close(k.ended) }) // never started
	k.stop.Do(func() {
		k.cancel()
		k.flow.stop()
		go func() {
			<-k.ended
			k.flow.makers.Wait()
			close(k.idle)
		}()
	})
	select {
	case <-k.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stopping the signing of decisions: %w", context.Cause(ctx))
	}
}

func (k *Keeper) run() {
	defer close(k.ended)
	pause := firstPause
	for {
		wait := k.every
		if err := k.once(); err != nil && !errors.Is(err, ErrTaken) {
			wait, pause = pause, min(2*pause, lastPause)
		} else {
			pause = firstPause
		}
		if !k.flow.pause(k.ctx, wait) {
			return
		}
	}
}

// once finishes what was left and signs all that waits.
func (k *Keeper) once() error {
	if err := k.flow.Recover(k.ctx); err != nil {
		k.flow.note(k.ctx, err)
		return err
	}
	for {
		more, err := k.flow.Seal(k.ctx, false)
		if err != nil || !more {
			return err
		}
	}
}
