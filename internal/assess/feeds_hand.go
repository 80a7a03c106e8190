package assess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/feed"
)

// wanted reports whether a feed of that name is to be in force: it is
// configured, or was loaded by hand.
func (f *Feeds) wanted(name string) bool {
	byHand := feed.Source{Name: f.o.Loaded}
	return byHand.Of(name) || slices.ContainsFunc(f.o.Sources, func(src feed.Source) bool { return src.Of(name) })
}

// Retire puts out of force what is no longer configured: whole sources, and
// ecosystems that a source names no longer. What was decided by it is judged
// again. It is to be called when a server starts; another load that ends this
// one meanwhile is vuln.ErrSuperseded.
func (f *Feeds) Retire(ctx context.Context) error {
	states, err := f.o.Reader.Feeds(ctx)
	if err != nil {
		return err
	}
	var names []string
	for i := range states {
		if s := &states[i]; s.Records > 0 && !f.wanted(s.Name) {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	f.o.Log.InfoContext(ctx, "feeds of advisories are no longer configured and go out of force", "feeds", names)
	_, err = f.drop(ctx, authz.Internal("feeds"), names)
	return err
}

// Drop puts out of force what was loaded by hand: all of it, or one of its
// feeds. Errors match repo.ErrNotFound for what is not in force, and
// repo.ErrConflict for what is configured or while something else is loaded.
func (f *Feeds) Drop(ctx context.Context, act authz.Act, name string) (*api.Snapshot, error) {
	if err := act.Permits(oci.Repository{}, authz.Administer); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(f.o.Sources, func(src feed.Source) bool { return src.Of(name) }) {
		return nil, fmt.Errorf("feed %s is configured and would be loaded again: %w; take it out of feeds in the configuration, and start the server again", name, repo.ErrConflict)
	}
	states, err := f.o.Reader.Feeds(ctx)
	if err != nil {
		return nil, err
	}
	asked := feed.Source{Name: name}
	states = slices.DeleteFunc(states, func(s vuln.FeedState) bool { return s.Records == 0 || !asked.Of(s.Name) })
	if len(states) == 0 {
		return nil, fmt.Errorf("of feed %s nothing is in force: %w; see: bonded feed list", oci.Quote(name), repo.ErrNotFound)
	}
	var names []string
	for i := range states {
		names = append(names, states[i].Name)
	}
	return f.drop(ctx, act.Principal(), names)
}

func (f *Feeds) drop(ctx context.Context, by authz.Principal, names []string) (*api.Snapshot, error) {
	return f.alone(ctx, by, nil, func() (evidence.Snapshot, error) {
		result, err := f.loader.Drop(ctx, names)
		return result.Snapshot, err
	})
}

// byHand is what feeds that people load say of where they come from.
const byHand = "bonded feed load"

// Load takes a folder of advisories that somebody sends (feed.Send). Its feeds
// replace those of the same name that were loaded so before. Errors match
// authz.ErrInvalid for a stream that is no such folder, repo.ErrConflict when
// an update is running, and blob.ErrNoSpace.
func (f *Feeds) Load(ctx context.Context, act authz.Act, folder io.Reader, acceptLoss bool, progress func(api.FeedProgress)) (*api.Snapshot, error) {
	if err := act.Permits(oci.Repository{}, authz.Administer); err != nil {
		return nil, err
	}
	return f.alone(ctx, act.Principal(), progress, func() (s evidence.Snapshot, err error) {
		dir, err := os.MkdirTemp(f.o.Temp, "feed-")
		if err != nil {
			return s, fmt.Errorf("receiving advisories: %w", full(err))
		}
		defer os.RemoveAll(dir)
		if err := feed.Receive(ctx, folder, dir); errors.Is(err, feed.ErrFolder) {
			return s, fmt.Errorf("%w: %w", authz.ErrInvalid, err)
		} else if err != nil {
			return s, full(err)
		}
		return f.loadFolder(ctx, dir, acceptLoss)
	})
}

// loadFolder loads what there is in a folder, of every format; what is not there
// stays as it was loaded before. Its error says why a feed was not taken, unless it
// is held back, which its state says.
func (f *Feeds) loadFolder(ctx context.Context, dir string, acceptLoss bool) (s evidence.Snapshot, err error) {
	formats, err := feed.FormatsIn(ctx, dir)
	if err != nil {
		return s, fmt.Errorf("%w: %w", authz.ErrInvalid, err)
	}
	for _, format := range formats {
		src := feed.Source{Format: format, Name: f.o.Loaded, Location: dir, Origin: byHand, AcceptLoss: acceptLoss, Partial: true}
		if format != vuln.OSV {
			src.Name += "/" + format
		}
		result, loadErr := f.loadOne(ctx, src)
		err = errors.Join(err, loadErr)
		for i := range result.Feeds {
			if r := &result.Feeds[i]; r.Err != nil && !errors.Is(r.Err, feed.ErrHeld) {
				err = errors.Join(err, fmt.Errorf("%w: %w", authz.ErrInvalid, r.Err))
			}
		}
		s = result.Snapshot
	}
	return s, err
}

// full gives an error of a full disk its name.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: %w", blob.ErrNoSpace, err)
	}
	return err
}
