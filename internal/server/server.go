package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authn"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/promote"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/telemetry"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/waiver"
)

type clock = func() time.Time

// noRepository stands for the server as a whole.
var noRepository oci.Repository

// Options are what a Server is made of.
type Options struct {
	Config *config.Config
	// URL is how clients will reach a server that does not listen where it is to
	// be reached. Optional: as configured, or as it listens.
	URL string
	// Inspect opens stores only to look at them: no keys are opened, or made.
	Inspect bool
	Dev     bool   // loopback, plain HTTP, an anonymous sandbox zone
	Version string // of this build
	Log     *slog.Logger
	Metrics *prometheus.Registry
	Tracing *telemetry.Tracing
	// Clock and Rand are those of the process. Optional: time.Now, crypto/rand.
	Clock func() time.Time
	Rand  io.Reader
	// Database changes how the database is opened: tests break statements with
	// it. Optional.
	Database func(*db.Options)
}

// Server is a running server. Its stores are open once New has returned;
// nothing is answered before Run.
type Server struct {
	config    *config.Config
	dev       bool
	url       string // how clients reach it
	version   string
	log       *slog.Logger
	clock     clock
	steady    *steady // for what decides, and what stands
	rand      io.Reader
	metrics   *prometheus.Registry
	tracing   *telemetry.Tracing
	transport *transport

	zones      repo.Zones
	gates      *gates
	db         *db.DB
	content    *content
	advisories *vuln.Live
	analyst    *assess.Analyst
	assess     *assess.Assessor
	anchors    *anchors
	push       *push.Flow
	promote    *promote.Flow
	feeds      *assess.Feeds
	waivers    *waiver.Flow
	accounts   *authn.Accounts
	trust      *trusted // nil where it is only inspected
	jobs       *job.Pool
	fetching   *job.Pool        // of feeds
	sequencer  *audit.Sequencer // nil where it is only inspected
	pulls      *audit.Pulls     // the same
	deciding   *deciding
	serving    []serving
	draining   atomic.Bool
}

// New opens the stores of a server and its listener. Errors match db.ErrInUse
// and db.ErrNewer where those are why.
func New(ctx context.Context, o Options) (_ *Server, err error) {
	s := &Server{config: o.Config, dev: o.Dev, version: o.Version, log: o.Log, metrics: o.Metrics, tracing: o.Tracing, clock: o.Clock, rand: o.Rand}
	if s.clock == nil {
		s.clock = time.Now //nolint:forbidigo // wiring hands the clock of the machine to all others
	}
	s.steady = newSteady(s.clock)
	if s.rand == nil {
		s.rand = rand.Reader
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if o.Dev && !config.LoopbackAddress(o.Config.Listen) {
		return nil, fmt.Errorf("a development server answers anyone over plain HTTP, so it listens on loopback only, not on %s; use --listen 127.0.0.1:PORT, or leave --dev out", o.Config.Listen)
	}
	if err := os.MkdirAll(string(o.Config.Data), 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	database := db.Options{Logger: s.log, Clock: s.steady.now, Registerer: s.metrics, Inspect: o.Inspect}
	if o.Database != nil {
		o.Database(&database)
	}
	openStores := func(ctx context.Context) error { return s.openStores(ctx, database) }
	openTrust := func(ctx context.Context) error {
		if s.url = cmp.Or(o.URL, s.transport.url); o.Inspect {
			return nil
		}
		return s.openTrust(ctx)
	}
	for _, step := range []func(context.Context) error{openStores, openTrust, s.wireFlows, s.wireFaces} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Server) openStores(ctx context.Context, database db.Options) (err error) {
	c := s.config
	if s.zones, err = zonesOf(c, s.dev); err != nil {
		return err
	}
	if s.gates, err = gatesOf(c); err != nil {
		return err
	}
	if s.db, err = openDB(ctx, c, database); err != nil {
		return err
	}
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	if problem := s.clockProblem(); problem != "" {
		s.log.WarnContext(ctx, "decisions are made later than the clock says", "problem", problem)
	}
	if s.content, err = openContent(ctx, c, s.log); err != nil {
		return err
	}
	s.transport, err = listen(ctx, c, s.dev, s.clock, s.log)
	return err
}

func (s *Server) wireFlows(ctx context.Context) (err error) {
	s.advisories = vuln.NewLive(s.db)
	if _, err := s.advisories.Refresh(ctx); err != nil {
		return err
	}
	database := assess.DB{Update: txs[assess.Tx](s.db.Update), View: txs[assess.Tx](s.db.View)}
	if s.analyst, err = s.newAnalyst(database); err != nil {
		return err
	}
	if s.anchors, err = newAnchors(s.config, s.ownRoot, s.clock, s.log); err != nil {
		return err
	}
	s.assess, err = assess.New(assess.Options{
		Zones: s.zones, Gates: s.gates.compiled, DB: database, Blobs: s.content.blobs, Analyst: s.analyst,
		Advisories: s.advisories, AdvisoryRows: s.db, Trusted: s.anchors.trusted, Kinds: s.anchors.kinds(), VEXFeeds: vexFeeds(s.config), Engine: "bonded " + s.version, Clock: s.steady.now, Rand: s.rand, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.push = push.New(push.Options{
		Zones: s.zones, Blobs: s.content.blobs, Uploads: s.content.uploads, Sessions: s.db, Update: txs[push.Tx](s.db.Update),
		Analysis: following{s.analyst}, Entry: s.assess, Clock: s.steady.now, Rand: s.rand, Log: s.log, Limits: limitsOf(s.config),
	})
	s.promote = promote.New(promote.Options{
		Zones: s.zones, Judge: judge{s.assess}, JudgeJob: assess.JobJudge, Update: txs[promote.Tx](s.db.Update), View: txs[promote.Tx](s.db.View),
		Anchors: s.anchors.digest, Clock: s.steady.now, Rand: s.rand,
	})
	if s.feeds, err = s.newFeeds(database); err != nil {
		return err
	}
	s.waivers = s.newWaivers()
	return s.wireWork()
}

func limitsOf(c *config.Config) push.Limits {
	l := c.Limits
	return push.Limits{Blob: int64(l.Blob), Lease: time.Duration(l.Lease), Idle: time.Duration(l.Idle), Referrers: l.Referrers, Uploads: l.Uploads}
}

// following lets push follow uploads through assess.
type following struct{ analyst *assess.Analyst }

func (f following) Follow(request context.Context, read func(context.Context, []byte, int64) (int, error), closed func()) push.Following {
	return f.analyst.Follow(request, read, closed)
}

// Run answers until ctx ends, then stops: no new requests, running ones are
// waited for up to the configured time, jobs are given back. ready is called
// once requests are answered.
func (s *Server) Run(ctx context.Context, ready func()) error {
	if n, err := s.db.Abandoned(ctx); err != nil {
		return errors.Join(err, s.stop())
	} else if n > 0 {
		s.log.InfoContext(ctx, "took over jobs of a process that died", "jobs", n)
	}
	if err := s.deciding.look(ctx); err != nil {
		return errors.Join(err, s.stop())
	}
	s.deciding.Start()
	if s.trust != nil {
		if err := s.startLogs(ctx); err != nil {
			return errors.Join(err, s.stop())
		}
		s.trust.keeper.Start()
		s.sequencer.Start()
		s.pulls.Start()
	}
	s.jobs.Start()
	s.fetching.Start()
	s.anchors.start(s.deciding.retrust)
	failed := make(chan error, len(s.serving))
	for _, h := range s.serving {
		go func() {
			if err := h.Serve(h.listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
	}
	ready()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	return errors.Join(err, s.stop())
}

// stop ends everything in the reverse order of need.
func (s *Server) stop() error {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.config.Drain))
	defer cancel()
	var errs []error
	for _, h := range s.serving {
		if err := h.Shutdown(ctx); err != nil {
			s.log.Warn("requests were cut off after waiting", "waited", time.Duration(s.config.Drain))
			errs = append(errs, h.Close())
		}
	}
	s.anchors.stop()
	errs = append(errs, s.deciding.Stop(ctx))
	errs = append(errs, s.jobs.Stop(ctx), s.fetching.Stop(ctx))
	s.analyst.Stop()
	if s.trust != nil {
		errs = append(errs, s.pulls.Stop(ctx), s.sequencer.Stop(ctx), s.trust.close(ctx))
	}
	return errors.Join(append(errs, s.close())...)
}

// close closes what is open; it is also what is left of a New that failed.
func (s *Server) close() error {
	var errs []error
	if s.transport != nil {
		if err := s.transport.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, h := range s.serving {
		if err := h.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	return errors.Join(errs...)
}
