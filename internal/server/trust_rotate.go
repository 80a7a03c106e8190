package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/tuf"
)

// rotate replaces keys of the instance of a configuration. The server may run:
// its keeper takes over, and records it.
func (p parts) rotate(ctx context.Context, c *config.Config, r cli.RotateRequest) (*cli.Rotated, error) {
	url, err := futureURL(c)
	if err != nil {
		return nil, err
	}
	o, err := TrustOptions(c, url)
	if err != nil {
		return nil, rotateError(err)
	}
	o.Clock, o.Log = time.Now, slog.New(slog.DiscardHandler) //nolint:forbidigo // wiring hands the clock of the machine to all others
	i, err := trust.Open(ctx, o)
	if err != nil {
		return nil, rotateError(err)
	}
	off, err := openOffline(ctx, i, r)
	if err != nil {
		return nil, rotateError(err)
	}
	out := &cli.Rotated{Origin: i.Origin(), Replaced: []string{}}
	if r.Request {
		csr, err := i.Request(off)
		out.Request = string(csr)
		return out, rotateError(err)
	}
	if err := mayForget(i, o.Dir, r.Forget, r.Abandon); err != nil {
		return nil, cli.Misused(err, "start the server, which proves them anew, and wait until bonded trust status warns of it no more; or give them up with --abandon")
	}
	kept, done, err := publishedAt(ctx, c, o)
	if err != nil {
		return nil, err
	}
	defer done()
	store := tuf.Options{Store: kept, Keys: i, Clock: o.Clock, Log: o.Log, TimestampLife: time.Duration(c.Trust.Freshness)}
	if r.GiveUp {
		r.Slots = []string{string(trust.LogRekor), string(trust.LogCT), string(trust.LogAudit)}
		if err := raiseEpochs(ctx, c, o, r.Above); err != nil {
			return nil, err
		}
	}
	if i, err = (rotation{i, o, off, store, offlinePlaces(c)}).run(ctx, r); err != nil {
		return nil, rotateError(err)
	}
	if r.GiveUp {
		if err := giveUp(c, i, o); err != nil {
			return nil, err
		}
		out.Notes = append(out.Notes, "start the server; it goes on from what the database has", "witnesses refuse these logs until they are told to forget "+i.Origin())
	}
	out.Replaced, out.Expiries = append(out.Replaced, r.Slots...), i.Expiries()
	if r.Chain != nil {
		out.Replaced = append(out.Replaced, string(trust.Intermediate), string(trust.TSA))
	}
	if why := i.Places().Warning; why != "" {
		out.Notes = append(out.Notes, why)
	}
	return out, nil
}

// publishedAt opens where the TUF repository of a configuration is served from:
// a server on SQLite has the database for itself, and a folder for this.
func publishedAt(ctx context.Context, c *config.Config, o trust.Options) (store tuf.Store, done func(), err error) {
	if c.Database.Postgres == nil {
		return tufFolder(o.Dir), func() {}, nil
	}
	database, err := openDB(ctx, c, db.Options{Clock: o.Clock, Logger: o.Log})
	if err != nil {
		return nil, nil, err
	}
	done = func() { _ = database.Close() } // nothing of it is open
	if store, err = tufStore(ctx, c, database, o.Dir); err != nil {
		done()
	}
	return store, done, err
}

// rotation is what a rotation works with.
type rotation struct {
	instance *trust.Instance
	o        trust.Options
	off      *trust.Offline
	store    tuf.Options
	plugins  map[trust.Slot]string // where offline keys are made that a KMS or HSM has
}

// run rotates, or publishes what is there where nothing is to be replaced.
func (x rotation) run(ctx context.Context, r cli.RotateRequest) (*trust.Instance, error) {
	if len(r.Slots) == 0 && r.Chain == nil && len(r.Forget) == 0 {
		files, err := tuf.Documents(x.instance)
		if err != nil {
			return nil, err
		}
		return x.instance, tuf.New(x.store).Publish(ctx, tuf.Update{Files: files, Offline: x.off})
	}
	c := trust.RotateOptions{
		NewOffline: r.NewOfflineKeys, Passphrase: r.NewPassphrase, Chain: r.Chain, Forget: r.Forget, Offline: x.off, Publish: tuf.Hook(x.store), Plugins: x.plugins,
	}
	for _, s := range r.Slots {
		c.Slots = append(c.Slots, trust.Slot(s))
	}
	if r.AtOnce {
		c.Overlap = -1
	}
	return trust.Rotate(ctx, x.o, c)
}

// openOffline opens the offline keys that a request names, or those that were
// never moved away; nil where there are none, which is enough for some slots.
func openOffline(ctx context.Context, i *trust.Instance, r cli.RotateRequest) (*trust.Offline, error) {
	path := r.OfflineKeys
	if path == "" {
		path, _ = i.OfflinePath()
	}
	if path == "" {
		return nil, nil
	}
	return trust.OpenOffline(ctx, path, r.Passphrase)
}

// giveUp makes the head store forget the logs, and lets the next start begin
// those that the database has not.
func giveUp(c *config.Config, i *trust.Instance, o trust.Options) error {
	if err := os.Remove(filepath.Join(o.Dir, begunName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("giving up the logs: %w", err)
	}
	if c.Trust.HeadStore == "" {
		return nil
	}
	heads, err := filepath.Glob(filepath.Join(string(c.Trust.HeadStore), i.Origin()+"*.checkpoint")) // of the logs below it too
	for _, name := range heads {
		err = errors.Join(err, os.Rename(name, fmt.Sprintf("%s.given-up-%d", name, o.Clock().Unix())))
	}
	if err != nil {
		return fmt.Errorf("giving up the logs: %w", err)
	}
	return nil
}

// rotateError gives an error its kind for the command, where it is not the
// program's fault.
func rotateError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, trust.ErrNone):
		return cli.Misused(err, "bonded init, or --data FOLDER")
	case errors.Is(err, trust.ErrPassphrase):
		return cli.Misused(err, "--passphrase-file FILE")
	case errors.Is(err, trust.ErrRotation):
		return cli.Misused(err, "bonded trust rotate --help")
	case errors.Is(err, trust.ErrUnusable), errors.Is(err, trust.ErrOrigin), errors.Is(err, trust.ErrChain), errors.Is(err, trust.ErrExists):
		return cli.Misused(err, "")
	}
	return err
}
