// Package feed loads advisories: from a folder or an https address in the
// layout in which osv.dev publishes them, into the stores of package vuln.
//
// One source is a number of feeds, one per ecosystem: the archive NAME/all.zip
// holds a file ID.json per record, and ecosystems.txt names the folders. On
// disk the records may lie in NAME as they are, without an archive; and a
// folder of loose ID.json files, without ecosystems, is one feed.
//
// A load reads each feed as a stream, compares the digest of every record with
// what is in force, parses what is new, and stages the difference in small
// transactions; at the end all feeds that could be read come into force
// together as one snapshot, or nothing changes. A feed fails as a whole and
// alone: its last good state stays in force. So it does when the feed lost
// more than a tenth of its records, which is more often an accident or an
// attack than the truth. A record that cannot be read is skipped and counted;
// its last good version stays in force.
//
// What is known beside the advisories comes from sources of other formats, each
// of which is one document: see vuln.KEV and its like. It is compared with the one
// in force as a whole, held back as a feed is, and comes into force as a snapshot
// that names it.
//
// Nothing relies on the modified times that records claim: some lie years in
// the future, and a resume from the newest would never see a change again.
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/threat"
	"github.com/bonded-dev/bonded/internal/vuln/vexset"
)

// ErrHeld is the cause of an error about a feed that was not taken because it
// lost too much. A person who knows better loads it with AcceptLoss.
var ErrHeld = errors.New("feed is held back")

// Source is a place that advisories come from, or what is known beside them.
type Source struct {
	// Format is one of the formats of package vuln. Optional: vuln.OSV.
	Format string
	// Name is that of the feed where the format is one document, and otherwise begins the names of its feeds, "osv" those of "osv/Debian". It
	// has letters, digits, dots, underscores and hyphens.
	Name string
	// Location is an https URL or the path of a folder. Of a document the URL is
	// its own, and the path may be; vuln.EndOfLife is a folder of files anywhere.
	Location string
	// Origin is what is told of where the records come from. Optional: Location
	// without credentials.
	Origin string
	// Ecosystems chooses folders, all when empty. For a folder of loose files
	// it says which ecosystems the files cover: none when empty, as a handful
	// of private advisories does not make an ecosystem's packages checked.
	Ecosystems []string
	// Partial says that a folder may hold some of the feeds only: those of the
	// others that were loaded before are not missed.
	Partial bool
	// AcceptLoss takes feeds that lost more than a tenth of their records.
	AcceptLoss bool
}

// Options are what a Loader works with. All but Progress and Limits are
// required; Client is not for folders.
type Options struct {
	Reader vuln.Reader
	Stager vuln.Stager
	// Commit puts a change in force, in one transaction with the audit event
	// and the jobs that it causes.
	Commit func(ctx context.Context, c Change) error
	// Client fetches; redirects are followed to https only.
	Client *http.Client
	// Temp is a folder for archives while they are read.
	Temp string
	Now  func() time.Time
	// Wait sleeps between attempts until ctx ends, whose cause it returns.
	Wait func(ctx context.Context, d time.Duration) error
	Rand *rand.Rand // for jitter
	// Token returns 128 random bits as hex, from a cryptographic source.
	Token func() string
	Log   *slog.Logger
	// ReadVEX reads one VEX document; needed where a source has them.
	ReadVEX vexset.Reader
	// Progress, optional, is called now and then from the loading goroutine.
	Progress func(Progress)
	// Limits, optional, replace the defaults.
	Limits Limits
}

// Limits bound what one feed may be. Zero fields mean the default.
type Limits struct {
	Archive   int64         // bytes of an archive: 2 GiB
	Directory int64         // bytes of the table of contents of an archive, which is held in memory several times over: 64 MiB
	Ratio     int64         // uncompressed by compressed size: 100
	Records   int           // records of a feed: 2 million
	Attempts  int           // per request: 5
	Stall     time.Duration // without a byte until an attempt is given up: 1 minute
}

func (l Limits) orDefaults() Limits {
	set := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	set(&l.Archive, 2<<30)
	set(&l.Directory, 64<<20)
	set(&l.Ratio, 100)
	if l.Records == 0 {
		l.Records = 2_000_000
	}
	if l.Attempts == 0 {
		l.Attempts = 5
	}
	if l.Stall == 0 {
		l.Stall = time.Minute
	}
	return l
}

// Change is what a load asks to be committed. With a Snapshot of Seq 0 nothing
// changed, and the states alone are recorded.
type Change struct {
	Load     vuln.LoadID
	Snapshot evidence.Snapshot
	Feeds    []vuln.FeedState
	Results  []FeedResult
	// Documents are those that the snapshot names and that may be new.
	Documents []threat.Document
}

// Apply puts the change in force, in the transaction of p.
func (c *Change) Apply(ctx context.Context, p vuln.Publisher) error {
	for _, d := range c.Documents {
		if err := p.Keep(ctx, d.Digest, d.Content); err != nil {
			return err
		}
	}
	if c.Snapshot.Seq == 0 {
		return p.Record(ctx, c.Feeds)
	}
	return p.Publish(ctx, c.Load, c.Snapshot, c.Feeds)
}

// Progress says how far a load is.
type Progress struct {
	Feed  string
	Step  string // "fetch", counting bytes, or "read", counting records
	Done  int64
	Total int64 // 0 when unknown
}

// Result is what a load did.
type Result struct {
	Snapshot evidence.Snapshot // in force afterwards
	Changed  bool              // this load made it
	Feeds    []FeedResult      // in the order of the source
	Duration time.Duration
}

// Err joins the errors of the feeds that were not taken, nil when all were.
func (r *Result) Err() error {
	var errs []error
	for i := range r.Feeds {
		if f := &r.Feeds[i]; f.Err != nil {
			errs = append(errs, f.Err)
		}
	}
	return errors.Join(errs...)
}

// FeedResult is what a load did to one feed.
type FeedResult struct {
	Name    string
	Records int // in force afterwards, withdrawn ones included
	New     int
	Changed int // withdrawn ones not counted
	// Withdrawn were in force and are withdrawn now; Gone were in force and
	// are no longer in the feed.
	Withdrawn, Gone int
	Skipped         int      // could not be read
	Reasons         []string // why, "ID: reason", the first 10
	// Ignored counts affected packages, in the records that were parsed, that
	// no installed package can be compared with (commits only, nothing).
	Ignored int
	// Unchanged says that the source has served nothing new.
	Unchanged bool
	// Dropped says that the feed was put out of force as a whole (Loader.Drop).
	Dropped bool
	// Err says why the feed was not taken; its last good state is in force.
	// It matches ErrHeld where that is the reason.
	Err      error
	Duration time.Duration
}

// Loader loads sources, one at a time.
type Loader struct {
	opts Options
	mu   sync.Mutex
	// current names the feeds none of whose rows were packed by an older
	// engine, as far as this process has looked.
	current map[string]bool
}

// NewLoader returns a Loader.
func NewLoader(opts Options) *Loader {
	opts.Limits = opts.Limits.orDefaults()
	if opts.Progress == nil {
		opts.Progress = func(Progress) {}
	}
	return &Loader{opts: opts, current: map[string]bool{}}
}

// Load brings the feeds of a source up to date. What a single feed suffers is
// in its FeedResult, and the states that are recorded; the error is about what
// concerns all: the source cannot be listed, the stores fail, ctx has ended.
// Then nothing has changed.
func (l *Loader) Load(ctx context.Context, src Source) (Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := l.opts.Now()
	r := &run{Loader: l, src: src, at: start.UTC().Truncate(time.Microsecond)}
	result, err := r.load(ctx)
	result.Duration = l.opts.Now().Sub(start)
	if err != nil {
		r.abandon(ctx)
		return result, fmt.Errorf("loading advisories from %s: %w", src.display(), err)
	}
	return result, nil
}

// display is the location without credentials, or what is told instead.
func (s *Source) display() string {
	if s.Origin != "" {
		return s.Origin
	}
	if i := strings.Index(s.Location, "://"); i >= 0 {
		rest := s.Location[i+3:]
		host, _, _ := strings.Cut(rest, "/")
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			return s.Location[:i+3] + rest[at+1:]
		}
	}
	return s.Location
}
