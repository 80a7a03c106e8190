package main

import (
	"context"
	"io"
	"sync"
	"time"
)

// uplink is a line to a registry that carries so many bytes a second, whoever
// sends them.
type uplink struct {
	rate float64 // bytes a second

	mu   sync.Mutex
	free time.Time // when the line has carried what it was given
}

// burst is how far the line may be ahead: what it can carry in this time goes
// at once, as a buffer would take it.
const burst = 5 * time.Millisecond

// reader returns r at the speed of the line.
func (u *uplink) reader(ctx context.Context, r io.Reader) io.Reader { return held{ctx, u, r} }

// held is one reader that shares the line.
type held struct {
	ctx  context.Context
	line *uplink
	r    io.Reader
}

func (h held) Read(p []byte) (int, error) {
	n, err := h.r.Read(p[:min(len(p), 64<<10)])
	if n == 0 {
		return n, err
	}
	wait := time.NewTimer(h.line.take(n))
	defer wait.Stop()
	select {
	case <-wait.C:
		return n, err
	case <-h.ctx.Done():
		return n, h.ctx.Err()
	}
}

// take puts n bytes on the line and says how long to wait.
func (u *uplink) take(n int) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if earliest := now.Add(-burst); u.free.Before(earliest) {
		u.free = earliest
	}
	u.free = u.free.Add(time.Duration(float64(n) / u.rate * float64(time.Second)))
	return u.free.Sub(now)
}
