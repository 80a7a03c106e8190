package assess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// openAtOnce is how many layers an Offline reads at once: enough to keep the
// processors busy while a network is waited for.
const openAtOnce = 4

// Source is where an Offline reads an artifact from.
type Source interface {
	// Blob returns content by its descriptor. Reading it fails, instead of
	// ending, when it is not what the descriptor says.
	Blob(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error)
}

// OfflineOptions are what an Offline works with. All but Workers are required.
type OfflineOptions struct {
	Analyzer *analyze.Analyzer
	Engine   string // build of this program, recorded in decisions
	Clock    func() time.Time
	Log      *slog.Logger
	// Workers is how many layers are worked on at once; 0 means the number of
	// processors.
	Workers int
}

// Offline judges artifacts without a server: with its analysis, its matching
// and its gates, and none of its stores. It is safe for concurrent use.
type Offline struct{ o OfflineOptions }

// NewOffline returns an Offline.
func NewOffline(o OfflineOptions) *Offline { return &Offline{o} }

// Question is what an Offline is asked.
type Question struct {
	Source   Source
	Manifest *oci.Manifest // no index
	// Repository is where the artifact would stand, in the zone that Gate is of.
	Repository oci.Repository
	Gate       *policy.Gate
	// Next are gates that are asked too. Optional.
	Next []*policy.Gate
	// Advisories returns what the packages of an image are matched against.
	// Optional: without, nothing is matched, and nothing counts as checked.
	Advisories func(ctx context.Context, im *inventory.Image) (*vuln.Index, error)
	// Step is told what is being done, by one goroutine at a time. Optional.
	Step func(what string)
}

// Answer is what an Offline found, in the words of a server.
type Answer struct {
	Inventory api.Inventory
	Findings  api.Findings
	Decision  api.Decision
	Next      []api.Decision // of Question.Next, in that order
}

// Judge analyses an artifact and asks whether the gate would let it in. It does
// not look at referrers. Errors are those of the source and of Advisories, and
// one for what no gate decides on; whatever else cannot be told is in the
// decision.
func (o *Offline) Judge(ctx context.Context, q Question) (*Answer, error) {
	if q.Step == nil {
		q.Step = func(string) {}
	}
	s := &scanning{Question: q, desk: newDesk(q.Source, q.Manifest)}
	s.analyst = NewAnalyst(AnalystOptions{Analyzer: o.o.Analyzer, Blobs: s.desk, DB: s.desk.db(), Clock: o.o.Clock, Log: o.o.Log, Workers: o.o.Workers})
	defer s.analyst.Stop()
	x, err := s.examine(ctx)
	if err != nil {
		return nil, err
	}
	// The same question as a server's, to an Assessor that has no stores.
	a := &Assessor{Options: Options{Analyst: s.analyst, Clock: o.o.Clock, Engine: o.o.Engine}}
	at := repo.Placement{Repository: q.Repository, Digest: q.Manifest.Digest}
	q.Step("asking gate " + q.Gate.Name())
	d, err := q.Gate.Evaluate(ctx, policy.Enter, a.input(asked{at: at, clause: policy.Enter}, x))
	if err != nil {
		return nil, fmt.Errorf("judging %s: %w", q.Manifest.Digest, err)
	}
	out := s.answer(x, d)
	for _, gate := range q.Next {
		if at.Repository, err = q.Repository.InZone(gate.Name()); err != nil {
			return nil, err
		}
		d, err := gate.Evaluate(ctx, policy.Enter, a.input(asked{at: at, clause: policy.Enter}, x))
		if err != nil {
			return nil, fmt.Errorf("judging %s: %w", q.Manifest.Digest, err)
		}
		out.Next = append(out.Next, d)
	}
	return out, nil
}

// scanning is one question under way.
type scanning struct {
	Question
	desk    *desk
	analyst *Analyst
	mu      sync.Mutex // held while Step is called
}

func (s *scanning) step(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Step(fmt.Sprintf(format, args...))
}

// examine is Assessor.examine for what is stored nowhere.
func (s *scanning) examine(ctx context.Context) (*examined, error) {
	m := s.Manifest
	kind, err := judgedAs(m)
	if err != nil {
		return nil, err
	}
	x := &examined{manifest: m, stored: &repo.Manifest{Digest: m.Digest, MediaType: m.MediaType, Kind: kind, Raw: m.Raw}}
	if kind != oci.KindImage {
		return x, nil
	}
	if err := s.findFacts(ctx); err != nil {
		return nil, err
	}
	if x.image, x.digest, err = s.analyst.Image(ctx, m); err != nil {
		return nil, fmt.Errorf("examining %s: %w", m.Digest, err)
	}
	if err := s.desk.failure(); err != nil {
		return nil, fmt.Errorf("examining %s: %w", m.Digest, err)
	}
	index := vuln.NewBuilder().Index(evidence.Snapshot{})
	if s.Advisories != nil {
		s.step("reading advisories")
		if index, err = s.Advisories(ctx, x.image); err != nil {
			return nil, err
		}
	}
	x.snapshot = index.Snapshot()
	x.findings, x.unchecked = match(index, x.image)
	x.lifecycle = index.Lifecycles(x.image)
	return x, nil
}

// judgedAs returns the kind that a gate is asked about. What claims to be
// evidence and has the configuration of an image is judged as one: whoever
// scans it means to run it.
func judgedAs(m *oci.Manifest) (oci.Kind, error) {
	kind := m.Kind()
	switch {
	case m.IsIndex():
		return "", fmt.Errorf("%s is an index: one of its images is judged at a time", m.Digest)
	case kind == oci.KindEvidence && m.HasImageConfig():
		return oci.KindImage, nil
	case kind == oci.KindEvidence && m.Subject != nil:
		return "", fmt.Errorf("%s says something about %s and is not judged itself; scan what it is about", m.Digest, m.Subject.Digest)
	case kind == oci.KindEvidence:
		return "", fmt.Errorf("%s says something about another artifact and is not judged itself; scan what it is about", m.Digest)
	}
	return kind, nil
}

// findFacts finds the facts of all layers, several at once.
func (s *scanning) findFacts(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(openAtOnce)
	for i, d := range s.Manifest.Layers {
		if oci.IsForeignLayer(d.MediaType) || oci.IsEncryptedLayer(d.MediaType) {
			continue
		}
		g.Go(func() error {
			s.step("analysing layer %d of %d", i+1, len(s.Manifest.Layers))
			if _, err := s.analyst.facts(ctx, d.Digest); err != nil {
				return fmt.Errorf("analysing layer %d of %s: %w", i+1, s.Manifest.Digest, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// answer says what was found. What is no image has an empty inventory, which
// is not analysed.
func (s *scanning) answer(x *examined, d api.Decision) *Answer {
	of := api.Artifact{Repository: s.Repository.String(), Digest: x.manifest.Digest.String(), Kind: string(x.stored.Kind), MediaType: x.manifest.MediaType}
	if x.image == nil {
		return &Answer{
			Inventory: api.Inventory{Artifact: of, Coverage: string(inventory.CoverageNone), Searched: string(inventory.CoverageNone), Layers: []api.Layer{}, Packages: []api.Package{}},
			Findings:  api.Findings{Artifact: of, Snapshot: snapshot(x.snapshot), Findings: []api.Finding{}}, Decision: d,
		}
	}
	return &Answer{Inventory: *describe(of, x), Findings: *list(of, x), Decision: d}
}

// desk holds what an Analyst keeps in a server's stores, for one artifact: the
// facts in memory, and its content where it lies. Other methods of its stores
// than those of an Analyst are not there.
type desk struct {
	blob.Store
	source  Source
	content map[oci.Digest]oci.Descriptor // what the manifest names

	mu     sync.Mutex
	layers map[oci.Digest][]byte
	sets   map[oci.Digest][]byte
	failed error // the first content that was not what it should be
}

func newDesk(s Source, m *oci.Manifest) *desk {
	d := &desk{source: s, content: map[oci.Digest]oci.Descriptor{}, layers: map[oci.Digest][]byte{}, sets: map[oci.Digest][]byte{}}
	for _, desc := range m.References() {
		d.content[desc.Digest] = desc
	}
	return d
}

// db returns the facts as a database. There is nothing that could conflict.
func (d *desk) db() DB {
	run := func(ctx context.Context, fn func(Tx) error) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		return fn(deskTx{desk: d})
	}
	return DB{Update: run, View: run}
}

// deskTx is a transaction on a desk, which is locked.
type deskTx struct {
	Tx
	desk *desk
}

func (t deskTx) LayerFacts(_ context.Context, d oci.Digest, _ string) ([]byte, error) {
	facts, ok := t.desk.layers[d]
	if !ok {
		return nil, repo.ErrNotFound
	}
	return facts, nil
}

func (t deskTx) PutLayerFacts(_ context.Context, d oci.Digest, _ string, facts []byte) error {
	t.desk.layers[d] = facts
	return nil
}

func (t deskTx) PackageSets(_ context.Context, ids []oci.Digest) (map[oci.Digest][]byte, error) {
	sets := make(map[oci.Digest][]byte, len(ids))
	for _, id := range ids {
		if set, ok := t.desk.sets[id]; ok {
			sets[id] = set
		}
	}
	return sets, nil
}

func (t deskTx) PutPackageSet(_ context.Context, id oci.Digest, encoded []byte, _ []Component) error {
	t.desk.sets[id] = encoded
	return nil
}

func (t deskTx) ImageRecord(context.Context, oci.Digest, string) ([]byte, error) {
	return nil, repo.ErrNotFound
}

func (t deskTx) PutImageRecord(context.Context, oci.Digest, string, []byte, []oci.Digest) error {
	return nil
}

// PutChain keeps nothing: nothing is built on what is stored nowhere.
func (t deskTx) PutChain(context.Context, oci.Digest, []oci.Digest, bool) error { return nil }

// Open returns content that the manifest names.
func (d *desk) Open(ctx context.Context, digest oci.Digest) (blob.Content, error) {
	desc, ok := d.content[digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", digest, blob.ErrNotFound)
	}
	r, err := d.source.Blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	return &arriving{r: r, size: desc.Size, desk: d}, nil
}

func (d *desk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed == nil {
		d.failed = err
	}
}

// failure is the first content that was not what it should be, nil when all
// was.
func (d *desk) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// arriving is content that is read once, from its beginning to its end.
type arriving struct {
	blob.Content // for what is read at will, which this is not
	r            io.ReadCloser
	size         int64
	desk         *desk
	err          error // sticks
}

func (a *arriving) Size() int64 { return a.size }

func (a *arriving) Read(p []byte) (n int, err error) {
	if a.err == nil {
		n, a.err = a.r.Read(p)
	}
	return n, a.err
}

// Close reads what is left first: what was said of the beginning counts only
// if the whole is what it is named by.
func (a *arriving) Close() error {
	if a.err == nil {
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{a}) // the error sticks
	}
	if !errors.Is(a.err, io.EOF) {
		a.desk.fail(a.err)
	}
	return a.r.Close()
}
