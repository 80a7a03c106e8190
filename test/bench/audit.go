package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// deeperLimit is for what grows a hundredfold in trees that get deeper. Appending
// to the log does not show in it; the rows do, which are searched by repository,
// principal and digest: each of a batch's distinct values is a page of an index to
// find, to write to the log of SQLite and to hash, and in ten thousand rows most of
// them share a page.
const deeperLimit = 2.5

// audits are the bars about the audit log, in this process over a database and a
// content store of their own.
var audits = []bar{
	{
		name:    "audit-verify-sha",
		what:    "CPU of the verification of an audit log of 1 000 000 events with the rows of its database, to that of SHA-256 over their bytes",
		limit:   40,
		measure: verifyToHash,
	},
	{
		name:    "audit-verify",
		what:    "CPU of the verification of an audit log of so many events with the rows of its database: exponent",
		limit:   linearLimit,
		measure: linear(auditSizes, verifyAudit),
	},
	{
		name:    "audit-integrate-growth",
		what:    "CPU of the integration of 1000 events into an audit log of so many",
		limit:   deeperLimit,
		measure: once(auditSizes, integrateAudit),
	},
	{
		name:    "audit-within",
		what:    "time from the commit of an event until it is in the published log: the longest of 1000, at 500 a second",
		limit:   1000,
		unit:    "ms",
		measure: integratedWithin,
	},
	{
		name:    "audit-bytes",
		what:    "bytes on disk for an event of 300 bytes, in the database and in the content store",
		limit:   1500,
		unit:    "bytes",
		measure: bytesOfEvents,
	},
}

// auditSizes are those of the log, smallest first.
func auditSizes(b *bench) []int {
	largest := 1_000_000
	if len(b.sizes) > 0 && b.sizes[len(b.sizes)-1] < 1000 { // a quick run
		largest = 100_000
	}
	return []int{largest / 100, largest / 10, largest}
}

// grownLog is an audit log that is filled step by step, and what was measured at
// each size on the way.
type grownLog struct {
	dir       string
	db        *db.DB
	log       *tlog.Log
	in        *audit.Integrator
	verifier  *audit.VerifyOptions
	bytes     int64 // of all events
	verify    map[int]float64
	integrate map[int]float64
}

// auditLog returns the log after it was filled to all sizes, once in a run.
func (b *bench) auditLog(ctx context.Context) (*grownLog, error) {
	if b.audit != nil {
		return b.audit, nil
	}
	g, err := newGrownLog(ctx, filepath.Join(b.dir, "audit"))
	if err != nil {
		return nil, err
	}
	for _, size := range auditSizes(b) {
		if err := g.fill(ctx, size); err != nil {
			return nil, errors.Join(err, g.db.Close())
		}
		if g.verify[size], err = g.verified(ctx, size); err != nil {
			return nil, errors.Join(err, g.db.Close())
		}
		if g.integrate[size], err = g.integrated(ctx); err != nil {
			return nil, errors.Join(err, g.db.Close())
		}
	}
	b.audit = g
	return g, nil
}

func newGrownLog(ctx context.Context, dir string) (*grownLog, error) {
	g := &grownLog{dir: dir, verify: map[int]float64{}, integrate: map[int]float64{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	blobs, err := disk.Open(filepath.Join(dir, "content"), disk.Options{})
	if err != nil {
		return nil, err
	}
	if g.db, err = db.Open(ctx, db.Options{Folder: dir, Clock: time.Now}); err != nil {
		return nil, err
	}
	o := tlog.Options{Origin: tlogtest.Origin, Store: g.db.AuditLog(), Blobs: blobs, Clock: time.Now}
	if o.Signer, err = tlog.NewEd25519Signer(tlogtest.Origin, tlogtest.Key(tlogtest.Origin)); err == nil {
		o.Verifier, err = tlog.ParseVerifier(fmt.Sprint(o.Signer))
	}
	if err == nil {
		err = tlog.Create(ctx, o)
	}
	if err == nil {
		g.log, err = tlog.Open(ctx, o)
	}
	if err != nil {
		return nil, errors.Join(err, g.db.Close())
	}
	g.in = audit.NewIntegrator(audit.IntegratorOptions{Store: g.db, Log: g.log})
	g.verifier = &audit.VerifyOptions{
		Source: &tlog.Reader{Store: g.db.AuditLog(), Blobs: blobs}, Origin: tlogtest.Origin, Verifier: o.Verifier, Rows: g.db, Clock: time.Now,
		Appended: func(context.Context) (int64, error) { return g.log.Status().Size, nil },
	}
	return g, nil
}

// anEvent is one of about 300 bytes. A digest has eight in a row: pushed, judged,
// promoted, pulled.
func anEvent(n int) audit.Event {
	id, d := sha256.Sum256(fmt.Append(nil, n)), sha256.Sum256(fmt.Append(nil, n/8))
	return audit.Event{
		ID: fmt.Sprintf("%x", id[:16]), At: time.Unix(1_700_000_000+int64(n), 0).UTC(), Kind: "manifest.pushed", Principal: fmt.Sprint("ci-", n%50), Method: "token",
		Repository: fmt.Sprintf("dev/team-%d/app-%d", n%20, n%300), Digest: fmt.Sprintf("sha256:%x", d[:]), Details: map[string]string{"kind": "image", "tags": fmt.Sprint("v", n)},
	}
}

// auditBatch is how many events are committed, and integrated, together.
const auditBatch = 2000

// fill grows the log to a size.
func (g *grownLog) fill(ctx context.Context, size int) error {
	for at := int(g.log.Status().Size); at < size; {
		n := min(auditBatch, size-at)
		if err := g.commit(ctx, at, n); err != nil {
			return err
		}
		took, err := g.in.Sequence(ctx, auditBatch)
		if err == nil && took != n {
			err = fmt.Errorf("%d of %d events were integrated", took, n)
		}
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}

// commit appends n events to the outbox.
func (g *grownLog) commit(ctx context.Context, from, n int) error {
	return g.db.Update(ctx, func(tx *db.Tx) error {
		for i := range n {
			e := anEvent(from + i)
			g.bytes += int64(len(e.Bytes()))
			if err := tx.Append(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// spent is the CPU time that fn takes, in seconds.
func spent(fn func() error) (float64, error) {
	before, err := ownCPU()
	if err != nil {
		return 0, err
	}
	if err := fn(); err != nil {
		return 0, err
	}
	after, err := ownCPU()
	return after - before, err
}

func (g *grownLog) verified(ctx context.Context, size int) (float64, error) {
	return spent(func() error {
		c, err := audit.Verify(ctx, *g.verifier)
		if err == nil && (!c.OK || c.Entries != int64(size)) {
			err = fmt.Errorf("an audit log of %d events is %s, with %d: %s", size, c.State, c.Entries, c.Problem)
		}
		return err
	})
}

// integrated is the least that it takes to take a thousand events in, of a few
// rounds. fill counts them.
func (g *grownLog) integrated(ctx context.Context) (least float64, err error) {
	const n = 1000
	for round := range growthRounds {
		if err := g.commit(ctx, int(g.log.Status().Size), n); err != nil {
			return 0, err
		}
		cost, err := spent(func() error {
			for left := n; left > 0; {
				took, err := g.in.Sequence(ctx, 500)
				if err == nil && took == 0 {
					err = fmt.Errorf("%d events are left", left)
				}
				if err != nil {
					return err
				}
				left -= took
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		if round == 0 || cost < least {
			least = cost
		}
	}
	return least, nil
}

func verifyAudit(ctx context.Context, b *bench, size int) (float64, error) {
	g, err := b.auditLog(ctx)
	if err != nil {
		return 0, err
	}
	return g.verify[size], nil
}

func integrateAudit(ctx context.Context, b *bench, size int) (float64, error) {
	g, err := b.auditLog(ctx)
	if err != nil {
		return 0, err
	}
	return g.integrate[size], nil
}

// verifyToHash holds the verification against hashing the same bytes.
func verifyToHash(ctx context.Context, b *bench) (reading, error) {
	g, err := b.auditLog(ctx)
	if err != nil {
		return reading{}, err
	}
	sizes := auditSizes(b)
	size := sizes[len(sizes)-1]
	hash, err := spent(func() error {
		event := anEvent(size).Bytes()
		for range size {
			sha256.Sum256(event)
		}
		return nil
	})
	if err != nil {
		return reading{}, err
	}
	return reading{value: g.verify[size] / hash, detail: fmt.Sprintf("%s events: %s to %s; %s", count(size), duration(g.verify[size]), duration(hash), load())}, nil
}

// integratedWithin commits events at a steady rate, and waits for each head.
func integratedWithin(ctx context.Context, b *bench) (reading, error) {
	g, err := newGrownLog(ctx, filepath.Join(b.dir, "audit-within"))
	if err != nil {
		return reading{}, err
	}
	defer func() { _ = g.db.Close() }() // what was measured stays so
	s := audit.NewSequencer(audit.SequencerOptions{Log: g.in})
	g.db.OnCommit(func(db.Commit) { s.Wake() })
	s.Start()
	defer func() { _ = s.Stop(ctx) }() // it has nothing left to do
	const n = 1000
	committed := make([]time.Time, 0, n)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	var longest time.Duration
	for seen := 0; seen < n; {
		<-tick.C
		if len(committed) < n {
			if err := g.commit(ctx, len(committed), 1); err != nil {
				return reading{}, err
			}
			committed = append(committed, time.Now())
		}
		h, err := g.db.AuditLog().Head(ctx)
		if err != nil {
			return reading{}, err
		}
		for ; seen < int(h.PublishedSize); seen++ {
			longest = max(longest, time.Since(committed[seen]))
		}
	}
	return reading{value: float64(longest.Milliseconds()), detail: load()}, nil
}

// bytesOfEvents is what the log has grown by on disk.
func bytesOfEvents(ctx context.Context, b *bench) (reading, error) {
	g, err := b.auditLog(ctx)
	if err != nil {
		return reading{}, err
	}
	var rows, tiles int64
	err = filepath.WalkDir(g.dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.HasSuffix(name, "-wal") || strings.HasSuffix(name, "-shm") {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if strings.Contains(name, "content") {
			tiles += info.Size()
		} else {
			rows += info.Size()
		}
		return nil
	})
	if err != nil {
		return reading{}, fmt.Errorf("measuring the audit log on disk: %w", err)
	}
	n := g.log.Status().Size
	return reading{
		value:  float64(rows+tiles) / float64(n),
		detail: fmt.Sprintf("%d in the database and %d in the content store, for %d of the event; %s events", rows/n, tiles/n, g.bytes/n, count(int(n))),
	}, nil
}
