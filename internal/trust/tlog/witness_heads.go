package tlog

import (
	"context"
	"fmt"
)

// witnessOrigin names what was cosigned of a log in a head store, where it may be
// beside the head of a log of ours.
func witnessOrigin(origin string) string { return "witnessed/" + origin }

// HeadedWitness is a WitnessStore that keeps what was cosigned in a head store
// too: a database that was restored from a backup goes on from there, instead of
// cosigning a second history.
type HeadedWitness struct {
	WitnessStore
	Heads HeadStore
}

// Latest implements WitnessStore. Where the head store has a newer checkpoint
// than the database, that was cosigned and lost: the database gets it again.
// Errors match ErrFork when both have one of the same size that differ.
func (w HeadedWitness) Latest(ctx context.Context, origin string) (Checkpoint, error) {
	latest, err := w.WitnessStore.Latest(ctx, origin)
	if err != nil {
		return latest, err
	}
	b, err := w.Heads.Load(ctx, witnessOrigin(origin))
	if err != nil {
		return latest, err
	}
	kept := Checkpoint{Origin: origin, Root: EmptyRoot()}
	if b != nil {
		kept, err = checkpointOf(b)
	}
	switch {
	case err != nil:
		return latest, fmt.Errorf("reading what was cosigned of %q from the head store: %w", origin, err)
	case kept.Origin != origin:
		return latest, fmt.Errorf("reading what was cosigned of %q from the head store: %w: it is of %.100q", origin, ErrOrigin, kept.Origin)
	case kept.Size == latest.Size && kept.Root != latest.Root:
		return latest, fmt.Errorf("reading what was cosigned of %q: %w: the head store has another root than the database at %d entries", origin, ErrFork, kept.Size)
	case kept.Size > latest.Size:
		return kept, w.WitnessStore.Swap(ctx, latest, kept, b)
	case kept.Size < latest.Size: // another process cosigned, or this one died in Swap
		return latest, w.keep(ctx, latest)
	}
	return latest, nil
}

// Swap implements WitnessStore. The database is first: it orders those who swap
// at the same time, and only what won is kept.
func (w HeadedWitness) Swap(ctx context.Context, old, next Checkpoint, signed []byte) error {
	if err := w.WitnessStore.Swap(ctx, old, next, signed); err != nil {
		return err
	}
	return w.keep(ctx, next)
}

// keep puts a checkpoint into the head store, of which only the text is read again.
func (w HeadedWitness) keep(ctx context.Context, c Checkpoint) error {
	if err := w.Heads.Save(ctx, witnessOrigin(c.Origin), []byte(c.Text()+"\n")); err != nil {
		return fmt.Errorf("recording a cosignature of %q: %w", c.Origin, err)
	}
	return nil
}
