package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/durable"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/rekor"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// anchoredName is a file in the trust folder that says under which keys of the
// transparency log the batches of decisions are proved.
const anchoredName = "anchored"

// settleKeys is how long other processes may still sign by a key that was
// replaced, after this one has taken over the next.
const settleKeys = time.Minute

// anchoredAtOnce is how many batches are looked at together.
const anchoredAtOnce = 200

// anchored says how far the batches are proved under the key in use.
type anchored struct {
	Key   string `json:"key"`   // ID of the key in use
	Done  bool   `json:"done"`  // every batch is proved under it, but those that are lost
	Moved int64  `json:"moved"` // those that were proved anew for this key
	Lost  int64  `json:"lost"`  // batches that the log does not have: no key will prove them
}

// readAnchored reads the file of a trust folder; the zero value where there is none.
func readAnchored(dir string) (a anchored, err error) {
	b, err := os.ReadFile(filepath.Join(dir, anchoredName))
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		return a, fmt.Errorf("reading under which keys batches are proved: %w", err)
	}
	return a, nil
}

func (a anchored) write(dir string) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, anchoredName), append(b, '\n'), 0o600)
}

// reanchor proves every batch of decisions under the key of the transparency log
// that is in use, where a key before it was rotated: what only the old one proves
// is lost with it. It is done once for each key.
func (k *keeper) reanchor(ctx context.Context) error {
	key := k.trust.instance.Key(trust.LogRekor).ID()
	if len(k.trust.instance.Logs(trust.LogRekor)) < 2 {
		return nil
	}
	a, err := readAnchored(k.trust.dir)
	if err != nil || a.Key == key && a.Done {
		return err
	}
	if ok, err := k.trust.succeeded(ctx); err != nil || !ok {
		return err
	}
	if a.Key != key || k.rekeyed.IsZero() {
		a.Key, k.rekeyed, k.swept = key, k.clock(), false
	}
	if a.Done = k.clock().Sub(k.rekeyed) > settleKeys; k.swept && !a.Done {
		return nil
	}
	if err := k.reanchorAll(ctx, &a); err != nil {
		return err
	}
	k.swept = true
	if a.Done {
		e, err := k.event(authz.Internal("init"), "log.anchored")
		if err != nil {
			return err
		}
		if err := k.record(ctx, e.With("log", k.trust.instance.Origin()).With("key", key).With("moved", strconv.FormatInt(a.Moved, 10)).With("lost", strconv.FormatInt(a.Lost, 10))); err != nil {
			return err
		}
	}
	return a.write(k.trust.dir)
}

// succeeded reports whether the head of the transparency log is signed by the key
// in use. A start comes here before it has seen to that, where the key was
// replaced while no server ran.
func (t *trusted) succeeded(ctx context.Context) (bool, error) {
	l := t.log(logSigned)
	h, err := l.o.Store.Head(ctx)
	if err != nil {
		return false, err
	}
	_, err = tlog.OpenCheckpoint(h.Published, l.o.Origin, l.now.Load().verifier)
	return err == nil, nil
}

// reanchorAll looks at each batch once. How far it is can be seen meanwhile.
func (k *keeper) reanchorAll(ctx context.Context, a *anchored) error {
	a.Lost = 0
	for after := int64(0); ; {
		batches, err := k.db.SealedBatches(ctx, after, anchoredAtOnce)
		if err != nil || len(batches) == 0 {
			return err
		}
		for _, b := range batches {
			after = b.Number
			next, err := k.trust.rekor.Reanchor(ctx, b.Bundle)
			switch {
			case errors.Is(err, rekor.ErrNotLogged):
				a.Lost++
				k.log.ErrorContext(ctx, "a batch of decisions is not in the transparency log, and is proved under a key of before alone", "batch", b.Number, "error", err)
			case err != nil:
				return fmt.Errorf("proving batch %d anew: %w", b.Number, err)
			case next != nil:
				if err := k.db.Reanchor(ctx, b, next); err != nil {
					return err
				}
				a.Moved++
			}
		}
		if a.Moved > 0 {
			progress := *a
			progress.Done = false
			if err := progress.write(k.trust.dir); err != nil {
				return err
			}
		}
	}
}

// anchorNote says what is proved under a key of before; "" where nothing is.
func (t *trusted) anchorNote() string {
	if len(t.instance.Logs(trust.LogRekor)) < 2 {
		return ""
	}
	a, err := readAnchored(t.dir)
	switch key := t.instance.Key(trust.LogRekor).ID(); {
	case err != nil:
		return err.Error()
	case a.Key != key || !a.Done:
		return fmt.Sprintf("batches of decisions are being proved anew under the present key of the transparency log, %d so far; the key before is not to be forgotten yet", a.Moved)
	case a.Lost > 0:
		return fmt.Sprintf("%d batches of decisions are not in the transparency log any more: they are lost with the key before", a.Lost)
	}
	return ""
}

// mayForget refuses to forget a key of the transparency log before what it proves
// is proved under the one in use.
func mayForget(i *trust.Instance, dir string, ids []string, abandon bool) error {
	for _, p := range i.Logs(trust.LogRekor) {
		for _, id := range ids {
			if p.ID() != id || abandon {
				continue
			}
			a, err := readAnchored(dir)
			if err != nil {
				return err
			}
			switch {
			case a.Key != i.Key(trust.LogRekor).ID() || !a.Done:
				return fmt.Errorf("forgetting log key %.16s…: batches of decisions may be proved under it alone (%d were proved anew so far)", id, a.Moved)
			case a.Lost > 0:
				return fmt.Errorf("forgetting log key %.16s…: %d batches of decisions are proved under it alone, and the log does not have them", id, a.Lost)
			}
		}
	}
	return nil
}

// recordRekey records, in the audit log, the last head that a log had under the key
// that was replaced: what that key signs beyond it was never the log.
func (s *Server) recordRekey(ctx context.Context, l *openLog, before, after string, signed []byte) error {
	c, err := tlog.PeekCheckpoint(signed)
	if err != nil {
		return err
	}
	e, err := s.event(authz.Internal("init"), "log.rekeyed")
	if err != nil {
		return err
	}
	return s.record(ctx, e.With("log", l.o.Origin).With("before", before).With("key", after).
		With("size", strconv.FormatInt(c.Size, 10)).With("root", c.Root.String()).With("checkpoint", base64.StdEncoding.EncodeToString(signed)))
}
