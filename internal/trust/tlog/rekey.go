package tlog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"
)

// Countersign adds the signature of a key to a checkpoint that one of the known
// keys has signed, of which the newest is last, and leaves those that it has. One
// that has the key's comes back as it is. Errors match ErrSignature when none of
// the known keys has signed.
func Countersign(signed []byte, origin string, known []note.Verifier, signer note.Signer) ([]byte, error) {
	for _, v := range slices.Backward(known) {
		_, err := OpenCheckpoint(signed, origin, v)
		if errors.Is(err, ErrSignature) {
			continue
		}
		if err != nil {
			return nil, err
		}
		n, err := openNote(signed, v)
		if err != nil {
			return nil, err
		}
		if v.KeyHash() == signer.KeyHash() {
			return signed, nil
		}
		return note.Sign(n, signer)
	}
	return nil, fmt.Errorf("%w: no key of the log %s has signed its checkpoint", ErrSignature, origin)
}

// Rekey goes on with another key. The head that is published gets its signature
// too, beside that of the key before and those of the witnesses; heads from then
// on are signed by it alone. heads is the head store as Options has it. On an
// error the log goes on as it was.
func (l *Log) Rekey(ctx context.Context, signer note.Signer, verifier note.Verifier, heads HeadStore) error {
	defer l.lock()()
	next := l.opts
	next.Signer, next.Verifier, next.Heads = signer, verifier, heads
	err := next.defaults()
	if err == nil {
		err = l.countersign(ctx, &next)
	}
	if err != nil {
		return fmt.Errorf("giving the log %s another key: %w", l.opts.Origin, err)
	}
	// These alone, and with mu: the others are read without.
	l.opts.Signer, l.opts.Verifier, l.opts.Heads = signer, verifier, heads
	return nil
}

// countersign signs what is published by the key of next. Another process may
// have done so.
func (l *Log) countersign(ctx context.Context, next *Options) error {
	h, err := l.opts.Store.Head(ctx)
	if err != nil {
		return err
	}
	if _, err := OpenCheckpoint(h.Published, l.opts.Origin, next.Verifier); err == nil {
		return nil
	}
	signed, err := Countersign(h.Published, l.opts.Origin, []note.Verifier{l.opts.Verifier}, next.Signer)
	if err != nil {
		return err
	}
	if _, err := OpenCheckpoint(signed, l.opts.Origin, next.Verifier); err != nil {
		return fmt.Errorf("the key signed something else: %w", err)
	}
	return l.opts.Store.Publish(ctx, h.PublishedSize, signed)
}
