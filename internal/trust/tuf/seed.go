package tuf

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Seed copies the repository of a store into one that has none: an instance is
// made in a folder, and servers that share a database serve it from there. The
// first root is copied last, so that one that was interrupted is repeated. It does
// nothing where to has a repository. Errors match ErrNone or ErrUnusable.
func Seed(ctx context.Context, to, from Store) error {
	for {
		err := seed(ctx, to, from)
		if !errors.Is(err, ErrRaced) { // with another server that starts
			return err
		}
	}
}

func seed(ctx context.Context, to, from Store) error {
	// Asked for first: one that is put there from now on is not overwritten.
	old, err := to.Get(ctx, timestampName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %s: %w", timestampName, err)
	}
	if _, err := to.Get(ctx, versioned(1, metadata.ROOT)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c, err := (&Repository{o: Options{Store: from}}).load(ctx)
	if err != nil {
		return err
	}
	for _, name := range c.names() {
		b, err := from.Get(ctx, name)
		switch {
		case err != nil:
		case name == timestampName:
			err = to.Replace(ctx, name, old, b)
		default:
			err = to.Put(ctx, name, b)
		}
		if err != nil {
			return fmt.Errorf("copying the TUF repository: %w", err)
		}
	}
	return nil
}

// names are the files that clients are led to, in an order in which none comes
// before what it names: the first root is last.
func (c *current) names() []string {
	var all []string
	for name, target := range c.targets.Signed.Targets {
		all = append(all, "targets/"+hex.EncodeToString(target.Hashes["sha256"])+"."+name)
	}
	all = append(all, versioned(c.targets.Signed.Version, metadata.TARGETS), versioned(c.snapshot.Signed.Version, metadata.SNAPSHOT), timestampName)
	for v := c.root.Signed.Version; v > 0; v-- {
		all = append(all, versioned(v, metadata.ROOT))
	}
	return all
}
