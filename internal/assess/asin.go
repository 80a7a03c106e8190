package assess

import (
	"context"
	"sync"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// asIn holds the advisories of one snapshot of the past: an index takes much
// memory, and questions about one time come together.
type asIn struct {
	mu    sync.Mutex // one load at a time
	index *vuln.Index
}

// load returns the advisories of a snapshot.
func (i *asIn) load(ctx context.Context, live *vuln.Live, rows vuln.Reader, s evidence.Snapshot) (*vuln.Index, error) {
	if now := live.Index(); now.Snapshot().Seq == s.Seq {
		return now, nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.index != nil && i.index.Snapshot().Seq == s.Seq {
		return i.index, nil
	}
	i.index = nil // its memory is needed
	x, err := vuln.LoadAt(ctx, rows, s)
	if err == nil {
		i.index = x
	}
	return x, err
}
