package assess

import (
	"archive/tar"
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// factsTx is a transaction of which only the facts of layers are used.
type factsTx struct {
	Tx
	known  []byte          // nil where there are none
	stored chan oci.Digest // what was put
}

func (tx factsTx) LayerFacts(context.Context, oci.Digest, string) ([]byte, error) {
	if tx.known == nil {
		return nil, repo.ErrNotFound
	}
	return tx.known, nil
}

func (tx factsTx) PutLayerFacts(_ context.Context, d oci.Digest, _ string, _ []byte) error {
	tx.stored <- d
	return nil
}

func newTestAnalyst(t *testing.T, tx factsTx) *Analyst {
	run := func(ctx context.Context, fn func(Tx) error) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return fn(tx)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	a := NewAnalyst(AnalystOptions{
		Analyzer: analyze.New(analyze.Options{Now: time.Now, Log: log}), DB: DB{Update: run, View: run}, Clock: time.Now, Log: log, Workers: 1,
	})
	t.Cleanup(a.Stop)
	return a
}

// TestBlobThatCameAgain: what is known already is not read to its end.
func TestBlobThatCameAgain(t *testing.T) {
	tx := factsTx{known: []byte{}, stored: make(chan oci.Digest, 1)}
	a := newTestAnalyst(t, tx)
	closed := make(chan struct{})
	f := a.Follow(t.Context(), func(ctx context.Context, _ []byte, _ int64) (int, error) {
		<-ctx.Done() // bytes that nobody has to wait for
		return 0, ctx.Err()
	}, func() { close(closed) })
	f.Grow(1 << 20)
	f.Finish(1<<20, oci.FromBytes([]byte("known")))
	<-closed
	a.Stop()
	select {
	case d := <-tx.stored:
		t.Errorf("facts of %s were stored from a layer that was not read", d)
	default:
	}
}

// TestBlobThatIsNew: its facts are stored once it is verified.
func TestBlobThatIsNew(t *testing.T) {
	tx := factsTx{stored: make(chan oci.Digest, 1)}
	a := newTestAnalyst(t, tx)
	var b bytes.Buffer
	if err := tar.NewWriter(&b).Close(); err != nil {
		t.Fatal(err)
	}
	read := func(_ context.Context, p []byte, off int64) (int, error) {
		return bytes.NewReader(b.Bytes()).ReadAt(p, off)
	}
	f := a.Follow(t.Context(), read, func() {})
	size, d := int64(b.Len()), oci.FromBytes(b.Bytes())
	f.Grow(size)
	f.Finish(size, d)
	if got := <-tx.stored; got != d {
		t.Errorf("facts of %s were stored, want %s", got, d)
	}
}
