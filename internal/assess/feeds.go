package assess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/telemetry"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/feed"
)

// JobFeed is the kind of the periodic job that updates a source of advisories;
// its key is the source's name.
const JobFeed = "feed"

// FeedOptions are what Feeds works with; all are required.
type FeedOptions struct {
	// Sources are the configured ones. What is in force of others goes out of
	// force; see Retire.
	Sources []feed.Source
	// Loaded is the name of the source that people load by hand (Load), which
	// no configured one has.
	Loaded string
	Reader vuln.Reader
	Stager vuln.Stager
	DB     DB
	Live   *vuln.Live
	Client *http.Client
	Temp   string // folder for archives while they are read
	Clock  func() time.Time
	Rand   io.Reader // cryptographic
	Log    *slog.Logger
}

// Feeds loads advisories and has what they change judged again. It is safe for
// concurrent use; one update runs at a time.
type Feeds struct {
	o       FeedOptions
	loader  *feed.Loader
	running sync.Mutex // held while an update runs

	mu       sync.Mutex
	by       authz.Principal        // who asked for the running update
	progress func(api.FeedProgress) // who is told of it; nil for nobody
}

// NewFeeds returns Feeds.
func NewFeeds(o FeedOptions) *Feeds {
	f := &Feeds{o: o}
	f.loader = feed.NewLoader(feed.Options{
		Reader: o.Reader, Stager: o.Stager, Commit: f.commit, Client: o.Client, Temp: o.Temp, Now: o.Clock, Wait: wait,
		Rand: rand.New(rand.NewPCG(seed(o.Rand, o.Clock), seed(o.Rand, o.Clock))), Token: func() string { return token(o.Rand) }, Log: o.Log, Progress: f.tell, ReadVEX: attest.ReadVEX,
	})
	return f
}

// wait sleeps until d has passed or ctx has ended.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// seed reads jitter's seed; jitter needs no more than being different.
func seed(random io.Reader, clock func() time.Time) (n uint64) {
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return uint64(clock().UnixNano())
	}
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

func token(random io.Reader) string {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		panic(fmt.Sprintf("assess: reading randomness: %v", err)) // crypto/rand does not fail
	}
	return fmt.Sprintf("%x", b)
}

// Feeds tells the state of every feed.
func (f *Feeds) Feeds(ctx context.Context) ([]api.Feed, error) {
	states, err := f.o.Reader.Feeds(ctx)
	if err != nil {
		return nil, err
	}
	list := []api.Feed{}
	for _, s := range states {
		byHand := feed.Source{Name: f.o.Loaded}
		gone := !f.wanted(s.Name) || byHand.Of(s.Name) && s.Records == 0 && !s.LoadedAt.IsZero()
		if gone && s.LoadedAt.IsZero() {
			continue // it never was in force
		}
		list = append(list, api.Feed{
			Name: s.Name, Format: cmp.Or(s.Format, vuln.OSV), PublishedAt: s.Dated, Gone: gone, Source: s.Source, Records: s.Records, Skipped: s.Skipped, Reasons: s.Reasons,
			LoadedAt: s.LoadedAt, CheckedAt: s.CheckedAt, Problem: s.Problem, Held: s.Held,
		})
	}
	for _, src := range f.o.Sources {
		if !slices.ContainsFunc(states, func(s vuln.FeedState) bool { return src.Of(s.Name) }) {
			list = append(list, api.Feed{Name: src.Name, Format: cmp.Or(src.Format, vuln.OSV), Source: src.Location}) // never loaded
		}
	}
	slices.SortFunc(list, func(a, b api.Feed) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Update loads the sources or feeds that req names, all where it names none,
// those in force also where they lost many records. See httpapi.Feeds. Errors
// match repo.ErrConflict when an update is running, and repo.ErrNotFound for a
// name of none.
func (f *Feeds) Update(ctx context.Context, act authz.Act, req api.FeedUpdate, progress func(api.FeedProgress)) (*api.Snapshot, error) {
	if err := act.Permits(oci.Repository{}, authz.Administer); err != nil {
		return nil, err
	}
	if len(f.o.Sources) == 0 {
		return nil, fmt.Errorf("%w: no feed is configured; name one under feeds, or load a folder: bonded feed load DIR", repo.ErrConflict)
	}
	sources, err := f.sources(req)
	if err != nil {
		return nil, err
	}
	return f.load(ctx, act.Principal(), sources, progress)
}

// sources returns what an update asks for: whole sources, and single feeds of
// some, each by itself.
func (f *Feeds) sources(req api.FeedUpdate) ([]feed.Source, error) {
	var list []feed.Source
	for _, src := range f.o.Sources {
		if src.AcceptLoss = slices.Contains(req.Force, src.Name); src.AcceptLoss || len(req.Feeds) == 0 || slices.Contains(req.Feeds, src.Name) {
			list = append(list, src)
		}
	}
	named := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(req.Feeds), req.Force...))))
	for _, name := range named {
		i := slices.IndexFunc(f.o.Sources, func(src feed.Source) bool { return src.Of(name) })
		if i < 0 {
			return nil, fmt.Errorf("no feed %s is configured: %w; see: bonded feed list", oci.Quote(name), repo.ErrNotFound)
		}
		if one := f.o.Sources[i]; name != one.Name {
			one.Ecosystems, one.AcceptLoss = []string{strings.TrimPrefix(name, one.Name+"/")}, slices.Contains(req.Force, name)
			list = append(list, one)
		}
	}
	return list, nil
}

// Refresh loads one configured source; it is the periodic job. A source whose
// feeds were not taken is no error of the job: their state says why.
func (f *Feeds) Refresh(ctx context.Context, name string) error {
	for _, src := range f.o.Sources {
		if src.Name != name {
			continue
		}
		_, err := f.load(ctx, authz.Internal("feeds"), []feed.Source{src}, nil)
		return err
	}
	return nil // no longer configured
}

func (f *Feeds) load(ctx context.Context, by authz.Principal, sources []feed.Source, progress func(api.FeedProgress)) (*api.Snapshot, error) {
	return f.alone(ctx, by, progress, func() (evidence.Snapshot, error) { return f.loadAll(ctx, sources) })
}

// alone runs what changes the advisories in force, and takes the result into
// use. Errors match repo.ErrConflict when something else does.
func (f *Feeds) alone(ctx context.Context, by authz.Principal, progress func(api.FeedProgress), fn func() (evidence.Snapshot, error)) (*api.Snapshot, error) {
	if !f.running.TryLock() {
		return nil, fmt.Errorf("an update of advisories is running: %w; wait for it, or see: bonded feed list", repo.ErrConflict)
	}
	defer f.running.Unlock()
	f.mu.Lock()
	f.by, f.progress = by, progress
	f.mu.Unlock()
	got, err := fn()
	if _, liveErr := f.o.Live.Refresh(ctx); liveErr != nil {
		err = errors.Join(err, liveErr)
	}
	if err != nil {
		return nil, err
	}
	s := snapshot(got)
	return &s, nil
}

// loadOne loads one source, as one span.
func (f *Feeds) loadOne(ctx context.Context, src feed.Source) (feed.Result, error) {
	ctx, span := telemetry.Start(ctx, "assess", "load feed", attribute.String("feed", src.Name))
	result, err := f.loader.Load(ctx, src)
	span.SetAttributes(attribute.Int64("snapshot", result.Snapshot.Seq), attribute.Bool("changed", result.Changed))
	telemetry.End(span, errors.Join(err, result.Err()))
	return result, err
}

func (f *Feeds) loadAll(ctx context.Context, sources []feed.Source) (got evidence.Snapshot, err error) {
	var problems []error
	for _, src := range sources {
		result, err := f.loadOne(ctx, src)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		got = result.Snapshot
		if err := result.Err(); err != nil {
			f.o.Log.WarnContext(ctx, "feeds were not taken", "source", src.Name, "error", err)
		}
	}
	return got, errors.Join(problems...)
}

// tell passes progress on.
func (f *Feeds) tell(p feed.Progress) {
	f.mu.Lock()
	progress := f.progress
	f.mu.Unlock()
	switch {
	case progress == nil:
	case p.Step == "read":
		progress(api.FeedProgress{Feed: p.Feed, Records: int(p.Done), Total: int(p.Total)})
	case p.Done > 0:
		progress(api.FeedProgress{Feed: p.Feed, Bytes: p.Done, Size: p.Total})
	}
}

// commit puts a load in force with its events, and has what it changes judged
// again.
func (f *Feeds) commit(ctx context.Context, c feed.Change) error {
	f.mu.Lock()
	by := f.by
	f.mu.Unlock()
	return f.o.DB.Update(ctx, func(tx Tx) error {
		if err := c.Apply(ctx, tx); err != nil {
			return err
		}
		for i := range c.Results {
			if err := f.log(ctx, tx, by, &c, &c.Results[i]); err != nil {
				return err
			}
		}
		if c.Snapshot.Seq == 0 {
			return nil
		}
		return tx.Enqueue(ctx, JobAdvisories, fmt.Sprint(c.Snapshot.Seq-1), f.o.Clock())
	})
}

// log appends the event of a feed that changed or was refused.
func (f *Feeds) log(ctx context.Context, tx Tx, by authz.Principal, c *feed.Change, r *feed.FeedResult) error {
	changed := r.New+r.Changed+r.Withdrawn+r.Gone > 0
	kind := "feed.updated"
	switch {
	case errors.Is(r.Err, feed.ErrHeld):
		kind = "feed.held"
	case r.Err != nil:
		kind = "feed.failed"
	case r.Dropped:
		kind = "feed.dropped"
	case !changed:
		return nil
	}
	ev, err := newEvent(f.o.Rand, f.o.Clock, by, kind)
	if err != nil {
		return err
	}
	ev = ev.With("feed", r.Name)
	switch {
	case r.Err != nil:
		ev = ev.With("problem", r.Err.Error())
	case r.Dropped:
		ev = ev.With("gone", fmt.Sprint(r.Gone))
	default:
		ev = ev.With("records", fmt.Sprint(r.Records)).With("new", fmt.Sprint(r.New)).With("changed", fmt.Sprint(r.Changed)).
			With("withdrawn", fmt.Sprint(r.Withdrawn)).With("gone", fmt.Sprint(r.Gone)).With("skipped", fmt.Sprint(r.Skipped))
	}
	if !c.Snapshot.Digest.IsZero() {
		ev = ev.With("snapshot", c.Snapshot.Digest.String())
	}
	for _, d := range c.Documents {
		ev = ev.With("document", d.Digest.String())
	}
	return tx.Append(ctx, ev)
}
