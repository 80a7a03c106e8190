package vuln

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// Live holds the index of the current snapshot and replaces it when another is
// published. Readers take the pointer once per piece of work, so that one
// decision sees one snapshot. Safe for concurrent use.
type Live struct {
	reader  Reader
	current atomic.Pointer[Index]
	loading sync.Mutex // one build at a time: each takes the memory of an index
}

// NewLive returns a Live with an empty index, which covers nothing; Refresh
// fills it.
func NewLive(r Reader) *Live {
	l := &Live{reader: r}
	l.current.Store(NewBuilder().Index(evidence.Snapshot{}))
	return l
}

// Index returns the index in use, never nil.
func (l *Live) Index() *Index { return l.current.Load() }

// Refresh loads the current snapshot unless it is in use already, and reports
// whether it did. On an error the index in use stays.
func (l *Live) Refresh(ctx context.Context) (bool, error) {
	l.loading.Lock()
	defer l.loading.Unlock()
	s, err := l.reader.Current(ctx)
	if err != nil {
		return false, fmt.Errorf("reading the current snapshot of advisories: %w", err)
	}
	if s.Seq == l.Index().Snapshot().Seq {
		return false, nil
	}
	x, err := LoadAt(ctx, l.reader, s)
	if err != nil {
		return false, err
	}
	l.current.Store(x)
	return true, nil
}
