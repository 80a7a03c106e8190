package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/acquire"
	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/analyze/extractor"
	secretfinder "github.com/bonded-dev/bonded/internal/analyze/secrets"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/feed"
)

// certDirs is where docker and podman keep the authorities of registries.
var certDirs = []string{"/etc/docker/certs.d", "/etc/containers/certs.d"}

// Scanner analyses and judges artifacts without a server.
type Scanner struct {
	Version string // of this build
	// AuthFiles are files in docker's format with credentials for registries,
	// those that count most first. Optional.
	AuthFiles []string
	Clock     func() time.Time
}

// Scan opens what r names, and judges one image of it.
func (s Scanner) Scan(ctx context.Context, r cli.ScanRequest) (*cli.ScanResult, error) {
	step := r.Step
	if step == nil {
		step = func(string) {}
	}
	step("opening " + r.Target)
	log := slog.New(slog.DiscardHandler) // what matters is in the answer, or the error
	src, err := acquire.Open(ctx, r.Target, acquire.Options{AuthFiles: s.AuthFiles, CertDirs: certDirs, UserAgent: "bonded/" + s.Version, Log: log})
	if err != nil {
		return nil, sourceError(err)
	}
	defer src.Close() //nolint:errcheck // it was only read
	chosen, err := acquire.Choose(ctx, src, oci.Platform{})
	if err != nil {
		return nil, sourceError(err)
	}
	gate := r.Gate
	at, err := oci.ParseRepository(gate.Name() + "/" + src.Path())
	if err != nil {
		return nil, err
	}
	analyzer := analyze.New(analyze.Options{Extractors: extractor.All(), Claimers: extractor.Claimers(), Searcher: secretfinder.New(), Now: s.Clock, Log: log})
	offline := assess.NewOffline(assess.OfflineOptions{Analyzer: analyzer, Engine: "bonded " + s.Version, Clock: s.Clock, Log: log})
	q := assess.Question{Source: measured(src, chosen.Manifest, r.Bytes), Manifest: chosen.Manifest, Repository: at, Gate: gate, Step: step}
	if q.Next, err = gatesAfter(r); err != nil {
		return nil, err
	}
	if r.Advisories != "" {
		q.Advisories = func(ctx context.Context, im *inventory.Image) (*vuln.Index, error) {
			return s.advisories(ctx, r.Advisories, im)
		}
	}
	a, err := offline.Judge(ctx, q)
	if err != nil {
		return nil, sourceError(err)
	}
	a.Inventory.Repository, a.Findings.Repository = "", "" // it stands in none
	withoutServer(&a.Decision)
	for i := range a.Next {
		withoutServer(&a.Next[i])
	}
	return &cli.ScanResult{Target: named(src.Name(), chosen), Inventory: a.Inventory, Findings: a.Findings, Decision: a.Decision, Next: a.Next}, nil
}

// withoutServer has a decision name the next step that there is where no server
// is asked: gates name that of a server.
func withoutServer(d *api.Decision) {
	next := strings.NewReplacer("bonded feed update", "bonded scan --advisories FOLDER")
	for i := range d.Reasons {
		d.Reasons[i].Says, d.Reasons[i].Remedy = next.Replace(d.Reasons[i].Says), next.Replace(d.Reasons[i].Remedy)
	}
}

// measure is a source that tells how much of an artifact was read.
type measure struct {
	assess.Source
	total int64
	done  atomic.Int64
	tell  func(done, total int64)
}

// measured tells how much of m is read from src; tell may be nil.
func measured(src assess.Source, m *oci.Manifest, tell func(done, total int64)) assess.Source {
	if tell == nil {
		return src
	}
	out := &measure{Source: src, tell: tell}
	for _, d := range m.References() {
		out.total += d.Size
	}
	return out
}

func (m *measure) Blob(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	r, err := m.Source.Blob(ctx, d)
	if err != nil {
		return nil, err
	}
	return &measuredBlob{r, m}, nil
}

// measuredBlob counts what is read of a blob.
type measuredBlob struct {
	io.ReadCloser
	of *measure
}

func (b *measuredBlob) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.of.tell(b.of.done.Add(int64(n)), b.of.total)
	return n, err
}

// gatesAfter returns the gates of the zones that an artifact goes to from that of
// the gate asked for, where that is a shipped one.
func gatesAfter(r cli.ScanRequest) ([]*policy.Gate, error) {
	if !r.Shipped {
		return nil, nil
	}
	var gates []*policy.Gate
	zones := repo.DefaultZones()
	for _, name := range zones.Names() {
		if !slices.Contains(zones[name].From, r.Gate.Name()) {
			continue
		}
		g, err := policy.ShippedGate(zones[name].Gate)
		if err != nil {
			return nil, err
		}
		gates = append(gates, g)
	}
	return gates, nil
}

// named says which image of a target was looked at.
func named(target string, c *acquire.Chosen) string {
	switch {
	case c.Platform == nil:
		return target
	case c.Platforms > 1:
		return fmt.Sprintf("%s (%s of %d platforms)", target, c.Platform, c.Platforms)
	}
	return fmt.Sprintf("%s (%s)", target, c.Platform)
}

func (s Scanner) advisories(ctx context.Context, dir string, im *inventory.Image) (*vuln.Index, error) {
	x, err := feed.IndexFor(ctx, feed.FolderOptions{Dir: dir, Now: s.Clock()}, im)
	if err != nil && ctx.Err() == nil {
		return nil, cli.Misused(err, "bonded scan --help")
	}
	return x, err
}

// sourceError gives an error the kind that the command knows.
func sourceError(err error) error {
	for _, kind := range []error{acquire.ErrNotFound, acquire.ErrInvalid, acquire.ErrCorrupt, oci.ErrManifestInvalid, oci.ErrSchema1} {
		if errors.Is(err, kind) {
			return cli.Misused(err, acquire.NextStep(err))
		}
	}
	switch {
	case errors.Is(err, acquire.ErrDenied):
		return notPermitted{err}
	case errors.Is(err, acquire.ErrUnavailable):
		return cli.Unavailable(err, "")
	}
	return err
}

// notPermitted is an error of a registry that also matches authz.ErrNotPermitted.
type notPermitted struct{ error }

func (e notPermitted) Unwrap() []error { return []error{e.error, authz.ErrNotPermitted} }
