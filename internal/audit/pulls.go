package audit

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
)

// PullsOptions are what Pulls work with.
type PullsOptions struct {
	// Write commits events together.
	Write func(ctx context.Context, events []Event) error
	// Event makes an event of a kind.
	Event func(p authz.Principal, kind string) (Event, error)
	Clock func() time.Time
	// Every is how long pulls are counted before they are written. Optional: 5 seconds.
	Every time.Duration
	// Distinct is how many different pulls are told apart in that time; further
	// ones are counted by who pulled alone. Optional: 4096.
	Distinct int
	Logger   *slog.Logger // Optional: none
}

// Pulls count what is pulled, and write one event for each principal, repository
// and digest of an interval. Add costs a pull nothing but a lock; what was counted
// since the last write is lost with the process, which is the interval at most.
type Pulls struct {
	o           PullsOptions
	start, stop sync.Once
	quit, ended chan struct{}

	mu    sync.Mutex // guards counts
	count map[pull]*pulled
}

// pull is what is told apart.
type pull struct {
	issuer, subject, method string
	repository, digest      string // empty where only who pulled is counted
}

// pulled is how often, and when.
type pulled struct {
	n           int
	first, last time.Time
}

// NewPulls makes a counter that writes nothing until Start.
func NewPulls(o PullsOptions) *Pulls {
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	if o.Distinct == 0 {
		o.Distinct = 4096
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pulls{o: o, quit: make(chan struct{}), ended: make(chan struct{}), count: map[pull]*pulled{}}
}

// Add counts a manifest that was handed out.
func (p *Pulls) Add(who authz.Principal, r oci.Repository, d oci.Digest) {
	key := pull{issuer: who.Issuer, subject: who.Subject, method: who.Method, repository: r.String(), digest: d.String()}
	now := p.o.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.count[key]
	if c == nil && len(p.count) >= p.o.Distinct {
		key.repository, key.digest = "", ""
		c = p.count[key]
	}
	if c == nil {
		c = &pulled{first: now}
		p.count[key] = c
	}
	c.n++
	c.last = now
}

// Start begins to write. Further calls do nothing, also after Stop.
func (p *Pulls) Start() {
	p.start.Do(func() { go p.run() })
}

// Stop writes what is left and ends, or ends with ctx.
func (p *Pulls) Stop(ctx context.Context) error {
	p.start.Do(func() { close(p.ended) }) // was never started, and will not be
	p.stop.Do(func() { close(p.quit) })
	select {
	case <-p.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (p *Pulls) run() {
	defer close(p.ended)
	ctx := context.Background()
	tick := time.NewTicker(p.o.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.write(ctx)
		case <-p.quit:
			p.write(ctx)
			return
		}
	}
}

// write commits what was counted. What could not be committed is counted on.
func (p *Pulls) write(ctx context.Context) {
	p.mu.Lock()
	counted := p.count
	p.count = map[pull]*pulled{}
	p.mu.Unlock()
	if len(counted) == 0 {
		return
	}
	events, err := p.events(counted)
	if err == nil {
		err = p.o.Write(ctx, events)
	}
	if err == nil {
		return
	}
	p.o.Logger.ErrorContext(ctx, "writing audit events of pulls; they are counted on", "error", err)
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, c := range counted {
		if now := p.count[key]; now != nil {
			c.n, c.last = c.n+now.n, now.last
		}
		p.count[key] = c
	}
}

// events are those of what was counted, in the order in which each began.
func (p *Pulls) events(counted map[pull]*pulled) ([]Event, error) {
	keys := slices.SortedFunc(maps.Keys(counted), func(a, b pull) int {
		if c := counted[a].first.Compare(counted[b].first); c != 0 {
			return c
		}
		return strings.Compare(a.repository+a.digest+a.subject, b.repository+b.digest+b.subject)
	})
	kind, events := "manifest.pulled", make([]Event, 0, len(keys))
	for _, key := range keys {
		c := counted[key]
		e, err := p.o.Event(authz.Principal{Issuer: key.issuer, Subject: key.subject, Method: key.method}, kind)
		if err != nil {
			return nil, err
		}
		e.Repository, e.Digest = key.repository, key.digest
		e = e.With("count", strconv.Itoa(c.n)).With("first", moment(c.first)).With("last", moment(c.last))
		events = append(events, e)
	}
	return events, nil
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }
