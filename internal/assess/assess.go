package assess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// JobJudge is the kind of job that decides a placement; its key is
// "repository@digest", as judgeKey makes it.
const JobJudge = "judge"

// judge is the name under which decisions are made, and on whose behalf what nobody
// has touched is judged again: the server's other jobs do not wait for that.
const judge = "judge"

// ErrNotAnalysed: the question is about an inventory, and this kind of
// artifact has none.
var ErrNotAnalysed = errors.New("has no inventory")

// Options are what an Assessor works with; all but Trusted are required.
type Options struct {
	Zones      repo.Zones
	Gates      map[string]*policy.Gate // by the name that zones use
	DB         DB
	Blobs      blob.Store
	Analyst    *Analyst
	Advisories *vuln.Live
	// AdvisoryRows tells what changed between snapshots.
	AdvisoryRows vuln.Reader
	// Trusted returns what evidence is verified by now. Optional: without, no
	// evidence counts.
	Trusted func() *Trusted
	// Kinds are those of its anchors, by name: a gate that names others is refused.
	Kinds map[string]verify.Kind
	// VEXFeeds are the feeds of VEX documents, by name: likewise.
	VEXFeeds []string
	Engine   string // build of this program, recorded in decisions
	Clock    func() time.Time
	Rand     io.Reader
	Log      *slog.Logger
}

// Assessor decides placements. It is safe for concurrent use.
type Assessor struct {
	Options
	fresh   freshness
	asIn    asIn
	vexes   vexSets
	waivers waivers
}

// New returns an Assessor, or an error naming a zone whose gate is missing.
func New(o Options) (*Assessor, error) {
	for _, name := range o.Zones.Names() {
		if z := o.Zones[name]; z.Gated() && o.Gates[z.Gate] == nil {
			return nil, fmt.Errorf("zone %s names gate %s, which does not exist; name one in configuration under gates, or use a shipped one: bonded gate list", name, oci.Quote(z.Gate))
		}
	}
	if err := checkGates(o.Gates, o.Kinds); err != nil {
		return nil, err
	}
	if err := checkFeeds(o.Gates, o.VEXFeeds); err != nil {
		return nil, err
	}
	return &Assessor{Options: o}, nil
}

func judgeKey(r oci.Repository, d oci.Digest) string { return r.String() + "@" + d.String() }

func parseJudgeKey(key string) (oci.Repository, oci.Digest, error) {
	name, digest, _ := strings.Cut(key, "@")
	r, err := oci.ParseRepository(name)
	if err != nil {
		return oci.Repository{}, oci.Digest{}, err
	}
	d, err := oci.ParseDigest(digest)
	return r, d, err
}

func (a *Assessor) event(kind string) (audit.Event, error) {
	return newEvent(a.Rand, a.Clock, authz.Internal(judge), kind)
}

func newEvent(random io.Reader, clock func() time.Time, p authz.Principal, kind string) (audit.Event, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return audit.Event{}, fmt.Errorf("reading randomness: %v", err)
	}
	return audit.New(fmt.Sprintf("%x", b), clock(), p, kind), nil
}

// gate returns the gate of a repository's zone. Errors match repo.ErrNotFound;
// a sandbox has none and gives nil.
func (a *Assessor) gate(r oci.Repository) (*policy.Gate, error) {
	zone, err := a.Zones.Of(r)
	if err != nil {
		return nil, err
	}
	return a.Gates[zone.Gate], nil
}

// view is a read in one consistent state.
func view[T any](ctx context.Context, db DB, fn func(Tx) (T, error)) (T, error) {
	var out T
	err := db.View(ctx, func(tx Tx) (err error) {
		out, err = fn(tx)
		return err
	})
	return out, err
}
