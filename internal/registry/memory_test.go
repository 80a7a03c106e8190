package registry_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/promote"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
)

type placeKey struct {
	r oci.Repository
	d oci.Digest
}

type leaseKey struct {
	placeKey
	principal string
}

type tagKey struct {
	r   oci.Repository
	tag string
}

type pendingKey struct {
	tagKey
	principal string
}

// tables are the rows of a memory. Values are never changed in place, so that
// a shallow copy is a snapshot.
type tables struct {
	blobs      map[oci.Digest]int64
	leases     map[leaseKey]time.Time
	manifests  map[oci.Digest]*repo.Manifest
	placements map[placeKey]repo.Placement
	tags       map[tagKey]oci.Digest
	pending    map[pendingKey]oci.Digest
	jobs       map[string]bool
	events     []audit.Event
}

func (t tables) clone() tables {
	return tables{
		maps.Clone(t.blobs), maps.Clone(t.leases), maps.Clone(t.manifests), maps.Clone(t.placements),
		maps.Clone(t.tags), maps.Clone(t.pending), maps.Clone(t.jobs), slices.Clone(t.events),
	}
}

// memory keeps what push and registry need of a database, and polices the
// contract: writes happen in transactions only, and each of those appends an
// event; pages have limits; versions are compared. fail, where set, breaks the
// named method.
type memory struct {
	t     testing.TB
	now   func() time.Time
	mu    sync.Mutex
	state tables
	fail  map[string]error

	sessionsMu sync.Mutex
	sessions   map[blob.UploadID]push.Session
}

func newMemory(t testing.TB, now func() time.Time) *memory {
	return &memory{t: t, now: now, sessions: map[blob.UploadID]push.Session{}, fail: map[string]error{}, state: tables{
		blobs: map[oci.Digest]int64{}, leases: map[leaseKey]time.Time{}, manifests: map[oci.Digest]*repo.Manifest{},
		placements: map[placeKey]repo.Placement{}, tags: map[tagKey]oci.Digest{}, pending: map[pendingKey]oci.Digest{}, jobs: map[string]bool{},
	}}
}

// tx is a transaction, or a view when it may not write.
type tx struct {
	unasked
	m      *memory
	s      tables
	writes bool
}

// unasked is what flows have for other faces: a call of it is a fault of this one.
type unasked struct {
	repo.Past
	repo.Words
	repo.Family
	repo.Chains
}

// Arrive, CarryArrivals, ArrivalsOf and FirstSeen keep nothing: who brought what is
// asked by gates, and no gate is here.
func (x *tx) Arrive(ctx context.Context, d oci.Digest, _ evidence.Arrival) error {
	if err := x.check(ctx, "Arrive", true); err != nil {
		return err
	}
	if _, ok := x.s.manifests[d]; !ok {
		return fmt.Errorf("manifest %s: %w", d, repo.ErrNotFound)
	}
	return nil
}

func (x *tx) CarryArrivals(ctx context.Context, _ oci.Digest, _, _ oci.Repository) error {
	return x.check(ctx, "CarryArrivals", true)
}

func (x *tx) ArrivalsOf(ctx context.Context, _ oci.Digest, _ ...oci.Repository) ([]evidence.Arrival, error) {
	return nil, x.check(ctx, "ArrivalsOf", false)
}

func (x *tx) FirstSeen(ctx context.Context, _ oci.Digest) (time.Time, error) {
	return time.Time{}, x.check(ctx, "FirstSeen", false)
}

var (
	_ push.Tx       = (*tx)(nil)
	_ promote.Tx    = (*tx)(nil)
	_ push.Sessions = (*memory)(nil)
	_ repo.Reader   = reader{}
)

func (m *memory) update(ctx context.Context, fn func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	x := &tx{m: m, s: m.state.clone(), writes: true}
	if err := fn(x); err != nil {
		return err
	}
	if len(x.s.events) == len(m.state.events) {
		m.t.Error("a transaction changed something and appended no event")
	}
	m.state = x.s
	return nil
}

func (m *memory) view() *tx {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &tx{m: m, s: m.state}
}

func (x *tx) check(ctx context.Context, method string, writes bool) error {
	if writes && !x.writes {
		x.m.t.Errorf("%s outside a transaction", method)
	}
	if err := x.m.fail[method]; err != nil {
		return err
	}
	return ctx.Err()
}

func (x *tx) page(method string, p repo.Page) {
	if p.Limit < 1 || p.Limit > 10_000 {
		x.m.t.Errorf("%s with a page of %d", method, p.Limit)
	}
}

// reader is the repo.Reader over committed state.
type reader struct{ m *memory }

func (r reader) Lookup(ctx context.Context, name oci.Repository, s repo.Selector, v repo.Viewer) (*repo.Placed, error) {
	return r.m.view().Lookup(ctx, name, s, v)
}

func (r reader) Tags(ctx context.Context, name oci.Repository, v repo.Viewer, p repo.Page) ([]string, error) {
	return r.m.view().Tags(ctx, name, v, p)
}

func (r reader) Referrers(ctx context.Context, name oci.Repository, subject oci.Digest, at string, v repo.Viewer, p repo.Page) ([]oci.Descriptor, error) {
	return r.m.view().Referrers(ctx, name, subject, at, v, p)
}

func (r reader) BlobAccess(ctx context.Context, name oci.Repository, d oci.Digest, v repo.Viewer) (*repo.BlobAccess, error) {
	return r.m.view().BlobAccess(ctx, name, d, v)
}

func (r reader) Repositories(ctx context.Context, p repo.Page) ([]oci.Repository, error) {
	return r.m.view().Repositories(ctx, p)
}

func (x *tx) at(r oci.Repository, d oci.Digest) (repo.Placement, bool) {
	p, ok := x.s.placements[placeKey{r, d}]
	return p, ok && p.State != repo.Removed
}

func (x *tx) Lookup(ctx context.Context, r oci.Repository, s repo.Selector, v repo.Viewer) (*repo.Placed, error) {
	if err := x.check(ctx, "Lookup", false); err != nil {
		return nil, err
	}
	d := s.Digest
	if s.Tag != "" {
		var ok bool
		if d, ok = x.s.pending[pendingKey{tagKey{r, s.Tag}, v.Principal}]; !ok || v.Principal == "" {
			d = x.s.tags[tagKey{r, s.Tag}]
		}
	}
	p, ok := x.at(r, d)
	if !ok {
		return nil, repo.ErrNotFound
	}
	return &repo.Placed{Placement: p, Manifest: *x.s.manifests[d]}, nil
}

func (x *tx) Tags(ctx context.Context, r oci.Repository, v repo.Viewer, p repo.Page) ([]string, error) {
	x.page("Tags", p)
	if err := x.check(ctx, "Tags", false); err != nil {
		return nil, err
	}
	seen, known := map[string]bool{}, false
	for k, d := range x.s.tags {
		at, ok := x.at(r, d)
		if k.r == r && ok && v.Visible(&at) {
			seen[k.tag] = true
		}
	}
	for k, d := range x.s.pending {
		at, ok := x.at(r, d)
		if k.r == r && ok && v.Visible(&at) && (v.Quarantine || k.principal == v.Principal) {
			seen[k.tag] = true
		}
	}
	for k, at := range x.s.placements {
		known = known || k.r == r && at.State != repo.Removed && v.Visible(&at)
	}
	if !known && len(seen) == 0 {
		return nil, repo.ErrNotFound
	}
	return cut(slices.Sorted(maps.Keys(seen)), p, func(s string) string { return s }), nil
}

// cut returns the page of sorted entries.
func cut[T any](all []T, p repo.Page, key func(T) string) []T {
	var out []T
	for _, e := range all {
		if key(e) > p.After && len(out) < p.Limit {
			out = append(out, e)
		}
	}
	return out
}

func (x *tx) Referrers(ctx context.Context, r oci.Repository, subject oci.Digest, artifactType string, v repo.Viewer, p repo.Page) ([]oci.Descriptor, error) {
	x.page("Referrers", p)
	if err := x.check(ctx, "Referrers", false); err != nil {
		return nil, err
	}
	var all []oci.Descriptor
	for _, d := range slices.SortedFunc(maps.Keys(x.s.manifests), compare) {
		m := x.s.manifests[d]
		at, ok := x.at(r, d)
		if ok && m.Subject == subject && v.Visible(&at) && (artifactType == "" || m.ArtifactType == artifactType) {
			all = append(all, oci.Descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(m.Raw)), ArtifactType: m.ArtifactType, Annotations: m.Annotations})
		}
	}
	return cut(all, p, func(d oci.Descriptor) string { return d.Digest.String() }), nil
}

func compare(a, b oci.Digest) int {
	if a.String() < b.String() {
		return -1
	}
	return 1
}

func (x *tx) BlobAccess(ctx context.Context, r oci.Repository, d oci.Digest, v repo.Viewer) (*repo.BlobAccess, error) {
	if err := x.check(ctx, "BlobAccess", false); err != nil {
		return nil, err
	}
	size, ok := x.s.blobs[d]
	if !ok {
		return nil, repo.ErrNotFound
	}
	a := &repo.BlobAccess{Size: size}
	if until, ok := x.s.leases[leaseKey{placeKey{r, d}, v.Principal}]; ok && v.Principal != "" && until.After(x.m.now()) {
		a.Readable = true
	}
	reachable := a.Readable
	for k, at := range x.s.placements {
		if k.r != r || at.State == repo.Removed || !names(x.s.manifests[k.d], d) {
			continue
		}
		reachable = true
		if v.Visible(&at) && (at.State != repo.Denied || v.Quarantine) {
			a.Readable = true
		} else if a.Refused == nil {
			a.Refused = &at
		}
	}
	if a.Readable {
		a.Refused = nil
	}
	if !reachable {
		return nil, repo.ErrNotFound
	}
	return a, nil
}

func names(m *repo.Manifest, d oci.Digest) bool {
	return slices.ContainsFunc(m.References, func(ref repo.Reference) bool { return ref.Digest == d })
}

func (x *tx) Repositories(ctx context.Context, p repo.Page) ([]oci.Repository, error) {
	x.page("Repositories", p)
	if err := x.check(ctx, "Repositories", false); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for k, at := range x.s.placements {
		if at.State != repo.Removed {
			seen[k.r.String()] = true
		}
	}
	var out []oci.Repository
	for _, s := range cut(slices.Sorted(maps.Keys(seen)), p, func(s string) string { return s }) {
		out = append(out, oci.MustRepository(s))
	}
	return out, nil
}

func (x *tx) PutBlob(ctx context.Context, d oci.Digest, size int64) error {
	if d.IsZero() || size < 0 {
		x.m.t.Errorf("PutBlob of %q with %d bytes", d, size)
	}
	err := x.check(ctx, "PutBlob", true)
	if err == nil {
		x.s.blobs[d] = size
	}
	return err
}

func (x *tx) Lease(ctx context.Context, r oci.Repository, d oci.Digest, principal string, until time.Time) error {
	if _, ok := x.s.blobs[d]; !ok || principal == "" || !until.After(x.m.now()) {
		x.m.t.Errorf("Lease of %s to %q until %s", d, principal, until)
	}
	err := x.check(ctx, "Lease", true)
	if err == nil {
		x.s.leases[leaseKey{placeKey{r, d}, principal}] = until
	}
	return err
}

func (x *tx) Unlease(ctx context.Context, r oci.Repository, d oci.Digest) error {
	err := x.check(ctx, "Unlease", true)
	if err == nil {
		maps.DeleteFunc(x.s.leases, func(k leaseKey, _ time.Time) bool { return k.placeKey == placeKey{r, d} })
	}
	return err
}

func (x *tx) PutManifest(ctx context.Context, m *repo.Manifest) error {
	if m.Digest.Algorithm().DigestOf(m.Raw) != m.Digest {
		x.m.t.Errorf("PutManifest of %s with other bytes", m.Digest)
	}
	err := x.check(ctx, "PutManifest", true)
	if err == nil {
		x.s.manifests[m.Digest] = m
	}
	return err
}

func (x *tx) Place(ctx context.Context, p *repo.Placement) error {
	if err := x.check(ctx, "Place", true); err != nil {
		return err
	}
	k := placeKey{p.Repository, p.Digest}
	old, ok := x.s.placements[k]
	if x.s.manifests[p.Digest] == nil {
		x.m.t.Errorf("Place of %s, which is not stored", p.Digest)
	}
	if p.Version == 0 && ok && old.State != repo.Removed || p.Version != 0 && old.Version != p.Version {
		return repo.ErrConflict
	}
	p.Version = old.Version + 1
	x.s.placements[k] = *p
	return nil
}

func (x *tx) SetTag(ctx context.Context, r oci.Repository, tag string, d oci.Digest) (oci.Digest, error) {
	if err := x.check(ctx, "SetTag", true); err != nil {
		return oci.Digest{}, err
	}
	k := tagKey{r, tag}
	old := x.s.tags[k]
	if d.IsZero() {
		delete(x.s.tags, k)
	} else {
		x.s.tags[k] = d
		maps.DeleteFunc(x.s.pending, func(p pendingKey, _ oci.Digest) bool { return p.tagKey == k })
	}
	return old, nil
}

func (x *tx) SetPending(ctx context.Context, r oci.Repository, tag string, d oci.Digest, principal string) error {
	if err := x.check(ctx, "SetPending", true); err != nil {
		return err
	}
	k := pendingKey{tagKey{r, tag}, principal}
	if d.IsZero() {
		delete(x.s.pending, k)
	} else {
		x.s.pending[k] = d
	}
	return nil
}

func (x *tx) Unknown(ctx context.Context, r oci.Repository, ds []oci.Digest, v repo.Viewer) ([]oci.Digest, error) {
	var out []oci.Digest
	for _, d := range ds {
		if a, err := x.BlobAccess(ctx, r, d, v); err != nil || !a.Readable {
			out = append(out, d)
		}
	}
	return out, nil
}

func (x *tx) Stored(ctx context.Context, d oci.Digest) (*repo.Manifest, error) {
	if m := x.s.manifests[d]; m != nil {
		return m, x.check(ctx, "Stored", false)
	}
	return nil, repo.ErrNotFound
}

func (x *tx) Placements(ctx context.Context, d oci.Digest) ([]repo.Placement, error) {
	return x.placed(func(k placeKey) bool { return k.d == d }), x.check(ctx, "Placements", false)
}

func (x *tx) placed(want func(placeKey) bool) []repo.Placement {
	var out []repo.Placement
	for k, p := range x.s.placements {
		if p.State != repo.Removed && want(k) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b repo.Placement) int {
		return slices.Compare([]string{a.Repository.String(), a.Digest.String()}, []string{b.Repository.String(), b.Digest.String()})
	})
	return out
}

func (x *tx) Parents(ctx context.Context, r oci.Repository, d oci.Digest) ([]repo.Placement, error) {
	return x.placed(func(k placeKey) bool {
		m := x.s.manifests[k.d]
		return k.r == r && m.Kind == oci.KindIndex && names(m, d)
	}), x.check(ctx, "Parents", false)
}

func (x *tx) ReferrersOf(ctx context.Context, d oci.Digest) ([]oci.Digest, error) {
	var out []oci.Digest
	for _, p := range x.placed(func(k placeKey) bool { return x.s.manifests[k.d].Subject == d }) {
		beside := x.placed(func(k placeKey) bool { return k.r == p.Repository && k.d == d })
		if p.State == repo.Attached && len(beside) > 0 && !slices.Contains(out, p.Digest) {
			out = append(out, p.Digest)
		}
	}
	slices.SortFunc(out, compare)
	return out, x.check(ctx, "ReferrersOf", false)
}

func (x *tx) Pending(ctx context.Context, r oci.Repository, d oci.Digest) ([]string, error) {
	var out []string
	for k, p := range x.s.pending {
		if k.r == r && p == d && !slices.Contains(out, k.tag) {
			out = append(out, k.tag)
		}
	}
	slices.Sort(out)
	return out, x.check(ctx, "Pending", false)
}

func (x *tx) TagsOf(ctx context.Context, r oci.Repository, d oci.Digest) ([]string, error) {
	var out []string
	for k, at := range x.s.tags {
		if k.r == r && at == d {
			out = append(out, k.tag)
		}
	}
	slices.Sort(out)
	return out, x.check(ctx, "TagsOf", false)
}

func (x *tx) Append(ctx context.Context, e audit.Event) error {
	if e.ID == "" || e.Kind == "" || e.Principal == "" || e.At.IsZero() {
		x.m.t.Errorf("Append of %+v", e)
	}
	x.s.events = append(x.s.events, e)
	return x.check(ctx, "Append", true)
}

func (x *tx) Enqueue(ctx context.Context, kind, key string, at time.Time) error {
	return x.EnqueueFor(ctx, "", kind, key, at)
}

func (x *tx) EnqueueFor(ctx context.Context, _, kind, key string, _ time.Time) error {
	x.s.jobs[kind+" "+key] = true
	return x.check(ctx, "Enqueue", true)
}

func (*tx) WaiverAct(context.Context, string) (int64, error) { return 0, nil }

func (x *tx) InForce(ctx context.Context, _ string) (int64, oci.Digest, error) {
	return 0, oci.Digest{}, x.check(ctx, "InForce", false)
}

func (x *tx) PutDecision(context.Context, *api.Decision, int64) (int64, error) {
	return 0, fmt.Errorf("no decisions here")
}

func (m *memory) BeginSession(ctx context.Context, s push.Session) error {
	m.sessionsMu.Lock()
	defer m.sessionsMu.Unlock()
	m.sessions[s.ID] = s
	return ctx.Err()
}

func (m *memory) SaveSession(ctx context.Context, s push.Session) error {
	return m.BeginSession(ctx, s)
}

func (m *memory) Session(_ context.Context, id blob.UploadID) (push.Session, error) {
	m.sessionsMu.Lock()
	defer m.sessionsMu.Unlock()
	s, ok := m.sessions[id]
	if !ok {
		return s, repo.ErrNotFound
	}
	return s, nil
}

func (m *memory) EndSession(_ context.Context, id blob.UploadID) error {
	m.sessionsMu.Lock()
	defer m.sessionsMu.Unlock()
	delete(m.sessions, id)
	return nil
}

func (m *memory) StaleSessions(context.Context, time.Time, int) ([]push.Session, error) {
	return nil, nil
}
