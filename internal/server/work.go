package server

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/analyze/extractor"
	secretfinder "github.com/bonded-dev/bonded/internal/analyze/secrets"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/layer"
	"github.com/bonded-dev/bonded/internal/vuln/feed"
)

// Kinds of periodic jobs.
const (
	jobRecheck = "recheck" // judge what time alone may have changed
	jobSweep   = "sweep"   // remove uploads nobody goes on with
)

// jobRevoke is the kind of the jobs that do what a revocation leaves, "ID/PART".
const jobRevoke = "revoke"

// Periods of those.
const (
	recheckEvery = 10 * time.Second
	sweepEvery   = 10 * time.Minute
)

// tempFolder is where what does not fit in memory goes; it is emptied at start.
func tempFolder(c *config.Config) (string, error) {
	dir := string(c.Analysis.Temp)
	if dir == "" {
		dir = filepath.Join(string(c.Data), "tmp")
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("emptying the folder for temporary files: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making the folder for temporary files: %w", err)
	}
	return dir, nil
}

func (s *Server) newAnalyst(database assess.DB) (*assess.Analyst, error) {
	temp, err := tempFolder(s.config)
	if err != nil {
		return nil, err
	}
	analyzer := analyze.New(analyze.Options{
		Extractors: extractor.All(), Claimers: extractor.Claimers(), Searcher: secretfinder.New(), Budget: budgetOf(s.config), TempDir: temp, Now: s.clock, Log: s.log,
	})
	return assess.NewAnalyst(assess.AnalystOptions{
		Analyzer: analyzer, Blobs: s.content.blobs, DB: database, Clock: s.clock, Log: s.log, Workers: s.config.Analysis.Workers,
	}), nil
}

// budgetOf is the budget of one layer as configured. Facts are kept apart by
// budget, so one that is not the standard gets a name of its own.
func budgetOf(c *config.Config) layer.Budget {
	standard := layer.Standard()
	b := standard
	a := c.Analysis
	b.Uncompressed, b.Ratio, b.Entries, b.File, b.Time = int64(a.Bytes), int64(a.Ratio), a.Entries, int64(a.File), time.Duration(a.Time)
	if b != standard {
		b.Class = fmt.Sprintf("bytes=%d,ratio=%d,entries=%d,file=%d,time=%s", b.Uncompressed, b.Ratio, b.Entries, b.File, b.Time)
	}
	return b
}

func (s *Server) newFeeds(database assess.DB) (*assess.Feeds, error) {
	temp, err := tempFolder(s.config)
	if err != nil {
		return nil, err
	}
	var sources []feed.Source
	for _, f := range s.config.Feeds {
		sources = append(sources, sourceOf(f))
	}
	return assess.NewFeeds(assess.FeedOptions{
		Sources: sources, Loaded: config.LoadedFeed, Reader: s.db, Stager: s.db, DB: database, Live: s.advisories, Client: &http.Client{Timeout: time.Hour},
		Temp: temp, Clock: s.clock, Rand: s.rand, Log: s.log,
	}), nil
}

// vexFeeds are the names of the feeds of VEX documents.
func vexFeeds(c *config.Config) []string {
	var names []string
	for _, f := range c.Feeds {
		if f.Format == config.FormatVEX {
			names = append(names, f.Name)
		}
	}
	return names
}

func sourceOf(f config.Feed) feed.Source {
	src := feed.Source{Name: f.Name, Location: f.URL, Ecosystems: f.Ecosystems}
	if f.Formatted() != config.FormatOSV {
		src.Format = f.Format
	}
	if f.Dir != "" {
		src.Location = string(f.Dir)
	} else if len(src.Ecosystems) == 0 && src.Format == "" {
		src.Ecosystems = knownEcosystems
	}
	return src
}

// knownEcosystems are those whose packages the extractors find: what a feed
// that names none is asked for.
var knownEcosystems = []string{
	"Alpine", "Chainguard", "Debian", "Go", "Maven", "NuGet", "Packagist", "PyPI", "RubyGems", "Ubuntu", "Wolfi", "crates.io", "npm",
}

// wireWork sets up the job pools, and what moves events into the audit log.
func (s *Server) wireWork() error {
	var feeds []job.Periodic
	for _, f := range s.config.Feeds {
		if every := f.Every(); every > 0 {
			feeds = append(feeds, job.Periodic{Kind: assess.JobFeed, Key: f.Name, Every: every})
		}
	}
	s.deciding = newDeciding(s)
	o := job.Options{
		Queue: governedQueue{s.db, s.deciding},
		Handlers: map[string]job.Handler{
			assess.JobJudge:      s.assess.Handle,
			assess.JobEvidence:   s.assess.HandleEvidence,
			assess.JobAdvisories: s.assess.HandleAdvisories,
			assess.JobGate:       s.assess.HandleGate,
			assess.JobBases:      s.assess.HandleBases,
			jobRevoke:            s.newRevoke().Handle,
			jobWaiver:            func(ctx context.Context, j job.Job) error { return s.waivers.Handle(ctx, j.Key) },
			jobRecheck:           func(ctx context.Context, _ job.Job) error { return s.recheck(ctx) },
			jobSweep:             func(ctx context.Context, _ job.Job) error { return s.sweep(ctx) },
		},
		Periodic: []job.Periodic{{Kind: jobRecheck, Every: recheckEvery}, {Kind: jobSweep, Every: sweepEvery}},
		Enqueue:  s.enqueue, Clock: s.steady.now, Rand: s.rand, Logger: s.log, Registerer: s.metrics, Tracer: s.tracing.Tracer("job"),
	}
	s.jobs = job.NewPool(o)
	// What waits for somebody else's server, for minutes or an hour, takes none of
	// the workers that judge; one feed is loaded at a time.
	o.Workers, o.Periodic = 1, feeds
	o.Handlers = map[string]job.Handler{assess.JobFeed: func(ctx context.Context, j job.Job) error { return s.feeds.Refresh(ctx, j.Key) }}
	s.fetching = job.NewPool(o)
	s.db.OnCommit(func(c db.Commit) {
		if len(c.Kinds) > 0 || c.Unknown {
			s.jobs.Wake()
			s.fetching.Wake()
		}
	})
	s.wireAudit()
	return nil
}

// enqueue queues a periodic job.
func (s *Server) enqueue(ctx context.Context, kind, key string, runAt time.Time) error {
	return s.db.Update(ctx, func(tx *db.Tx) error { return tx.Enqueue(ctx, kind, key, runAt) })
}

// sweptAtOnce is how many rows one sweep of the database removes.
const sweptAtOnce = 1000

// sweep removes what nobody will ask for again: unfinished uploads, and leases
// and codes that have ended. It also replaces the key of bearer tokens when it
// is old.
func (s *Server) sweep(ctx context.Context) error {
	if err := s.accounts.KeepKeys(ctx); err != nil {
		return err
	}
	if err := s.push.Sweep(ctx); err != nil {
		return err
	}
	if sweeper, ok := s.content.blobs.(blob.Sweeper); ok {
		if _, err := sweeper.Sweep(ctx, s.clock().Add(-time.Duration(s.config.Limits.Idle))); err != nil {
			return err
		}
	}
	for {
		n, err := s.db.Sweep(ctx, sweptAtOnce)
		if err != nil || n < sweptAtOnce {
			return err
		}
	}
}

// notReady says why requests should not be sent here, "" when they should.
func (s *Server) notReady(ctx context.Context) string {
	if s.draining.Load() {
		return "stopping"
	}
	var problems []string
	for name, problem := range s.checks(ctx) {
		if problem != "" {
			problems = append(problems, name+": "+problem)
		}
	}
	return strings.Join(problems, "; ")
}
