package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// Times of servers that share a database.
const (
	// lookForAnother is how often a server looks whether another one was configured
	// otherwise, and shows that it lives itself.
	lookForAnother = 2 * time.Second
	// aliveFor is how long the configuration in force outlives the last server that
	// has it, before one that it replaced may come back.
	aliveFor = 30 * time.Second
	// handover is how long a server whose configuration was replaced still takes
	// requests to read: its successor has to become ready.
	handover = time.Minute
)

// deciding is what decides, as this server is configured, and whether that is in
// force: servers on one database decide by one configuration.
type deciding struct {
	*Server
	own         db.Configuration
	start, stop sync.Once
	quit, ended chan struct{}

	mu    sync.Mutex       // guards the rest
	now   db.Configuration // in force; zero before the first look
	since time.Time        // when it was found that another one is; zero while it is the own
	fail  error            // of the last look
}

func newDeciding(s *Server) *deciding {
	return &deciding{Server: s, own: decidingOf(s), quit: make(chan struct{}), ended: make(chan struct{})}
}

// decidingOf digests what decides: who has the same comes to the same.
func decidingOf(s *Server) db.Configuration {
	gates := map[string]string{}
	for _, name := range s.gates.names() {
		gates[name] = s.gates.compiled[name].InForce().String()
	}
	type source struct {
		Name, URL  string
		Ecosystems []string
		Format     string `json:",omitempty"`
	}
	feeds := []source{}
	for _, f := range s.config.Feeds {
		feeds = append(feeds, source{f.Name, f.URL, f.Ecosystems, f.Format})
	}
	c := db.Configuration{Parts: map[string]string{}}
	for name, part := range map[string]any{
		"gates": gates, "zones": s.zones, "feeds": feeds, "anchors": s.config.Anchors, "builders": s.config.Builders, "analysis": budgetOf(s.config),
	} {
		c.Parts[name] = digestOf(part)
	}
	c.Digest = digestOf(c.Parts)
	return c
}

// digestOf is the SHA-256 of something as JSON, which sorts its maps.
func digestOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil { // strings, numbers and lists of them always marshal
		panic("server: encoding the configuration: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// shared reports whether other servers may be on this database: SQLite has one.
func (d *deciding) shared() bool { return d.config.Database.Postgres != nil }

// Start lets it look.
func (d *deciding) Start() {
	if d.shared() {
		d.start.Do(func() { go d.run() })
	}
}

// Stop ends it, or ctx.
func (d *deciding) Stop(ctx context.Context) error {
	d.start.Do(func() { close(d.ended) }) // never started
	d.stop.Do(func() { close(d.quit) })
	select {
	case <-d.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stopping to look for other servers: %w", context.Cause(ctx))
	}
}

func (d *deciding) run() {
	defer close(d.ended)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-d.quit; cancel() }()
	tick := time.NewTicker(lookForAnother)
	defer tick.Stop()
	for {
		select {
		case <-d.quit:
			return
		case <-tick.C:
		}
		if err := d.look(ctx); err != nil && ctx.Err() == nil {
			d.log.ErrorContext(ctx, "looking which configuration is in force", "error", err)
		}
	}
}

// look puts the configuration in force, if it may be, and shows that this server
// lives. What decides is brought to it whenever it comes into force.
func (d *deciding) look(ctx context.Context) error {
	first := d.force().Digest == ""
	grace := aliveFor
	if !d.shared() {
		grace = 0
	}
	var a db.Application
	err := d.db.Update(ctx, func(tx *db.Tx) (err error) {
		if a, err = tx.Apply(ctx, d.own, grace); err != nil || !a.Changed || a.Before.Digest == "" {
			return err
		}
		e, err := d.event(authz.Internal("init"), "configuration.applied")
		if err != nil {
			return err
		}
		return tx.Append(ctx, e.With("configuration", d.own.Digest).With("before", a.Before.Digest).With("differs", differs(d.own, a.Before)))
	})
	back := d.learn(ctx, a, err)
	if err != nil || !a.Changed && !first || a.Now.Digest != d.own.Digest {
		return err
	}
	if err := d.apply(ctx); err != nil {
		return err
	}
	if back {
		d.jobs.Wake()
	}
	return nil
}

// learn takes in what a look found; back says that the own configuration is in
// force again.
func (d *deciding) learn(ctx context.Context, a db.Application, err error) (back bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail = err; err != nil {
		return false // what was found last stands
	}
	first := d.now.Digest == ""
	d.now = a.Now
	mine := a.Now.Digest == d.own.Digest
	switch {
	case mine:
		back = !d.since.IsZero()
		d.since = time.Time{}
	case d.since.IsZero():
		if d.since = d.clock(); first { // there is nothing to hand over
			d.since = d.since.Add(-handover)
		}
		d.log.ErrorContext(ctx, "another server applied another configuration: this one decides nothing any more", "in force", a.Now.Digest, "applied", a.Now.Applied, "own", d.own.Digest, "differs", differs(d.own, a.Now))
	}
	return back
}

// apply brings the database to what this server decides by.
func (d *deciding) apply(ctx context.Context) error {
	if err := d.feeds.Retire(ctx); errors.Is(err, vuln.ErrSuperseded) {
		d.log.WarnContext(ctx, "another server loads advisories; what is no longer configured goes out of force at the next start", "error", err)
	} else if err != nil {
		return err
	}
	return errors.Join(d.assess.PutGates(ctx), d.assess.Retrust(ctx))
}

// retrust judges again after the files of anchors changed.
func (d *deciding) retrust(ctx context.Context) error {
	if d.replaced() != "" {
		return nil
	}
	return d.assess.Retrust(ctx)
}

func (d *deciding) force() db.Configuration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

// replaced says that another configuration is in force; "" while it is the own.
func (d *deciding) replaced() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.since.IsZero() {
		return ""
	}
	return fmt.Sprintf("another server applied configuration %s at %s; this one has %s (%s). Bring this server to the same file; to go back to this one, stop the others, or change anything in it",
		short(d.now.Digest), d.now.Applied.UTC().Format(time.RFC3339), short(d.own.Digest), differs(d.own, d.now))
}

// late says so once the successors have had their time to become ready.
func (d *deciding) late() string {
	why := d.replaced()
	d.mu.Lock()
	defer d.mu.Unlock()
	if why == "" || d.clock().Sub(d.since) < handover {
		return ""
	}
	return why
}

func short(digest string) string { return digest[:min(len(digest), 19)] + "…" }

// differs names the parts of two configurations that are not the same.
func differs(a, b db.Configuration) string {
	var names []string
	for name, digest := range a.Parts {
		if b.Parts[name] != digest {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// governed lets a server whose configuration was replaced answer who reads, and
// nobody who would have something decided.
func (d *deciding) governed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := d.replaced(); why != "" && decides(r) {
			w.Header().Set("Retry-After", "5")
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// decides reports whether a request changes what is judged: a manifest, or
// anything by the API. Blobs alone decide nothing.
func decides(r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return false
	}
	return strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/v2/") && strings.Contains(r.URL.Path, "/manifests/")
}

// governedQueue gives no jobs to a server whose configuration was replaced.
type governedQueue struct {
	job.Queue
	deciding *deciding
}

// Claim implements job.Queue.
func (q governedQueue) Claim(ctx context.Context, kinds []string, limit int, lease time.Duration) ([]job.Job, error) {
	if q.deciding.replaced() != "" {
		return nil, nil
	}
	return q.Queue.Claim(ctx, kinds, limit, lease)
}

// Next implements job.Queue.
func (q governedQueue) Next(ctx context.Context, kinds []string) (time.Time, error) {
	if q.deciding.replaced() != "" {
		return time.Time{}, nil
	}
	return q.Queue.Next(ctx, kinds)
}
