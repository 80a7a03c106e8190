package vuln

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	x, err := l.load(ctx, s)
	if err != nil {
		return false, err
	}
	l.current.Store(x)
	return true, nil
}

// errChanged ends a look for changes.
var errChanged = errors.New("changed")

// load returns the index of a snapshot: the one in use with something else beside
// it, where no record came or went, which is ready at once.
func (l *Live) load(ctx context.Context, s evidence.Snapshot) (*Index, error) {
	x := l.Index()
	before := x.Snapshot()
	if before.Seq == 0 || s.Seq < before.Seq || s.Digest != before.Digest || !slices.Equal(s.Ecosystems, before.Ecosystems) {
		return LoadAt(ctx, l.reader, s)
	}
	err := l.reader.Changes(ctx, before.Seq, s.Seq, func(Row) error { return errChanged })
	if errors.Is(err, errChanged) {
		return LoadAt(ctx, l.reader, s)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the changes of advisories from snapshot %d to %d: %w", before.Seq, s.Seq, err)
	}
	known, err := ThreatsAt(ctx, l.reader, s)
	if err != nil {
		return nil, err
	}
	return x.Beside(s, known), nil
}
