package fsck_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/fsck"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// store is what a check reads, row by row, so that any of them can be wrong.
type store struct {
	blobs      map[oci.Digest]int64
	manifests  []*repo.Manifest
	placements []*repo.Placement
	tags       map[string]oci.Digest // in app
	decisions  map[int64]*api.Decision
	audit      api.AuditCheck
	tiles      []oci.Digest
	content    *mem.Store
	err        error // of every listing
}

var app = oci.MustRepository("dev/app")

func (s *store) EachBlob(_ context.Context, fn func(oci.Digest, int64) error) error {
	for d, size := range s.blobs {
		if err := fn(d, size); err != nil {
			return err
		}
	}
	return s.err
}

func (s *store) EachManifest(_ context.Context, fn func(*repo.Manifest) error) error {
	for _, m := range s.manifests {
		if err := fn(m); err != nil {
			return err
		}
	}
	return s.err
}

func (s *store) EachPlacement(_ context.Context, fn func(*repo.Placement) error) error {
	for _, p := range s.placements {
		if err := fn(p); err != nil {
			return err
		}
	}
	return s.err
}

func (s *store) EachTag(_ context.Context, fn func(oci.Repository, string, oci.Digest) error) error {
	for tag, d := range s.tags {
		if err := fn(app, tag, d); err != nil {
			return err
		}
	}
	return s.err
}

func (s *store) HasBlob(_ context.Context, d oci.Digest) (int64, error) {
	size, ok := s.blobs[d]
	if !ok {
		return 0, repo.ErrNotFound
	}
	return size, nil
}

func (s *store) HasManifest(_ context.Context, d oci.Digest) (bool, error) {
	for _, m := range s.manifests {
		if m.Digest == d {
			return true, nil
		}
	}
	return false, nil
}

func (s *store) PlacementOf(_ context.Context, r oci.Repository, d oci.Digest) (*repo.Placement, error) {
	for _, p := range s.placements {
		if p.Repository == r && p.Digest == d {
			return p, nil
		}
	}
	return nil, repo.ErrNotFound
}

func (s *store) DecisionOf(_ context.Context, id int64) (*api.Decision, error) {
	if d := s.decisions[id]; d != nil {
		return d, nil
	}
	return nil, repo.ErrNotFound
}

func (s *store) EachTileBlob(_ context.Context, fn func(oci.Digest) error) error {
	for _, d := range s.tiles {
		if err := fn(d); err != nil {
			return err
		}
	}
	return s.err
}

// put makes content durable.
func (s *store) put(t *testing.T, content string) oci.Descriptor {
	t.Helper()
	d, uploads := oci.FromBytes([]byte(content)), s.content.Uploads()
	id := blob.UploadID(d.Hex()[:32])
	if err := uploads.Begin(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := uploads.Append(t.Context(), id, 0, strings.NewReader(content), func(int64) {}); err != nil {
		t.Fatal(err)
	}
	if err := uploads.Commit(t.Context(), id, int64(len(content)), d); err != nil {
		t.Fatal(err)
	}
	return oci.Descriptor{Digest: d, Size: int64(len(content)), MediaType: "application/vnd.oci.image.layer.v1.tar"}
}

// newStore holds one image that is admitted, with a tag, a tile and an audit log that is in order.
func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{content: mem.New(mem.Options{}), blobs: map[oci.Digest]int64{}, decisions: map[int64]*api.Decision{}}
	config, layer := s.put(t, "{}"), s.put(t, "a layer")
	config.MediaType = oci.MediaTypeConfig
	raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "config": config, "layers": []oci.Descriptor{layer}})
	if err != nil {
		t.Fatal(err)
	}
	m := &repo.Manifest{Digest: oci.FromBytes(raw), MediaType: oci.MediaTypeManifest, Kind: oci.KindImage, Raw: raw}
	for i, d := range []oci.Descriptor{config, layer} {
		s.blobs[d.Digest] = d.Size
		m.References = append(m.References, repo.Reference{Digest: d.Digest, Size: d.Size, Role: []repo.Role{repo.RoleConfig, repo.RoleLayer}[i]})
	}
	s.manifests = []*repo.Manifest{m}
	s.placements = []*repo.Placement{{Repository: app, Digest: m.Digest, Kind: m.Kind, State: repo.Admitted, Decision: 1}}
	s.decisions[1] = &api.Decision{Repository: app.String(), Digest: m.Digest.String(), Clause: "enter", Outcome: api.Allow}
	s.tags = map[string]oci.Digest{"1": m.Digest}
	s.tiles = []oci.Digest{s.put(t, "a tile").Digest}
	s.audit = api.AuditCheck{Entries: 2, Checks: []api.AuditPart{{Name: "tree", State: api.AuditOK}, {Name: "witnesses", State: api.AuditNone}}}
	return s
}

func (s *store) verify(context.Context) (*api.AuditCheck, error) { return &s.audit, nil }

func (s *store) check(t *testing.T, content bool) (*fsck.Report, error) {
	return fsck.Check(t.Context(), fsck.Options{Zones: repo.DefaultZones(), Census: s, Lookups: s, Blobs: s.content, Audit: s.verify, Content: content})
}

// TestCheck harms one row at a time, and wants it named, once.
func TestCheck(t *testing.T) {
	absent := oci.FromBytes([]byte("absent"))
	for _, tt := range []struct {
		name    string
		harm    func(s *store, m *repo.Manifest, p *repo.Placement)
		content bool
		want    string // CHECK: part of the text; "" for nothing wrong
	}{
		{"nothing", func(*store, *repo.Manifest, *repo.Placement) {}, true, ""},
		{"a blob is not stored", func(s *store, _ *repo.Manifest, _ *repo.Placement) { s.blobs[absent] = 6 }, false, "blob: recorded with 6 bytes, and not in the content store"},
		{"a blob has another size", func(s *store, m *repo.Manifest, _ *repo.Placement) {
			s.blobs[m.References[1].Digest]++
		}, false, "blob: recorded with 8 bytes, 7 in the content store; manifest: says "},
		{"a manifest is other bytes", func(_ *store, m *repo.Manifest, _ *repo.Placement) { m.Raw = append(m.Raw, ' ') }, false, "manifest: its bytes are"},
		{"a manifest is none", func(_ *store, m *repo.Manifest, _ *repo.Placement) { m.Raw = []byte("{") }, false, "manifest: "},
		{"a subject that nobody stated", func(_ *store, m *repo.Manifest, _ *repo.Placement) { m.Subject = absent }, false, "manifest: recorded subject"},
		{"a reference is missing", func(_ *store, m *repo.Manifest, _ *repo.Placement) { m.References = m.References[:1] }, false, "manifest: 1 references recorded, its bytes have 2"},
		{"a reference is another", func(_ *store, m *repo.Manifest, _ *repo.Placement) { m.References[1].Digest = absent }, false, "manifest: reference 1 recorded as"},
		{"a layer is no blob", func(s *store, m *repo.Manifest, _ *repo.Placement) { delete(s.blobs, m.References[1].Digest) }, false, "manifest: names"},
		{"a foreign layer is no blob", func(s *store, m *repo.Manifest, _ *repo.Placement) {
			delete(s.blobs, m.References[1].Digest)
			m.References[1].Role = repo.RoleForeign
		}, false, ""},
		{"a placement without manifest", func(s *store, _ *repo.Manifest, _ *repo.Placement) { s.manifests = nil }, false, "placement: its manifest is not stored"},
		{"a state nobody knows", func(_ *store, _ *repo.Manifest, p *repo.Placement) { p.State = "floating" }, false, "placement: unknown state"},
		{"an image as evidence", func(_ *store, _ *repo.Manifest, p *repo.Placement) { p.State = repo.Attached }, false, "placement: image stands ungated"},
		{"admitted without a decision", func(_ *store, _ *repo.Manifest, p *repo.Placement) { p.Decision = 0 }, false, "placement: can be pulled without a decision"},
		{"a decision is gone", func(s *store, _ *repo.Manifest, _ *repo.Placement) { delete(s.decisions, 1) }, false, "placement: can be pulled by decision 1, which does not exist"},
		{"a decision about another", func(s *store, _ *repo.Manifest, _ *repo.Placement) { s.decisions[1].Digest = absent.String() }, false, "placement: can be pulled by decision 1, which is about"},
		{"a decision that denies", func(s *store, _ *repo.Manifest, _ *repo.Placement) { s.decisions[1].Outcome = api.Deny }, false, "placement: can be pulled, and decision 1 says deny"},
		{"one that cannot tell", func(s *store, _ *repo.Manifest, _ *repo.Placement) { s.decisions[1].Outcome = api.CannotTell }, false, "placement: can be pulled, and decision 1 says cannot-tell"},
		{"one that lets it stay for now", func(s *store, _ *repo.Manifest, _ *repo.Placement) {
			s.decisions[1].Outcome, s.decisions[1].Clause = api.Deny, "stay"
		}, false, ""},
		{"held without a decision", func(s *store, _ *repo.Manifest, p *repo.Placement) {
			p.State, p.Decision, s.tags = repo.Held, 0, nil
		}, false, ""},
		{"in a zone that is configured no more", func(s *store, _ *repo.Manifest, p *repo.Placement) {
			p.Repository, p.Decision, s.tags = oci.MustRepository("gone/app"), 0, nil
		}, false, ""},
		{"a tag of something else", func(s *store, _ *repo.Manifest, _ *repo.Placement) { s.tags["2"] = absent }, false, "tag: points at"},
		{"a tag of what is held", func(_ *store, _ *repo.Manifest, p *repo.Placement) { p.State = repo.Held }, false, "tag: points at"},
		{"a tag of a tombstone", func(_ *store, _ *repo.Manifest, p *repo.Placement) { p.State = repo.Removed }, false, "tag: points at"},
		{"a tag of what was withdrawn", func(_ *store, _ *repo.Manifest, p *repo.Placement) { p.State = repo.Withdrawn }, false, ""},
		{"a tile is not stored", func(s *store, _ *repo.Manifest, _ *repo.Placement) { s.tiles = append(s.tiles, absent) }, false, "log: its blob "},
		{"a row is not what the log has", func(s *store, _ *repo.Manifest, _ *repo.Placement) {
			s.audit.Checks = append(s.audit.Checks, api.AuditPart{Name: "rows", State: api.AuditWrong, Text: "1 row"})
			s.audit.Rows = []api.AuditRow{{Seq: 2, Text: "row 2 was edited"}}
		}, false, "audit: row 2 was edited"},
		{"the log is ahead", func(s *store, _ *repo.Manifest, _ *repo.Placement) {
			s.audit.Checks = append(s.audit.Checks, api.AuditPart{Name: "history", State: api.AuditLogAhead, Text: "2 of 3"})
		}, false, "audit: 2 of 3"},
	} {
		s := newStore(t)
		tt.harm(s, s.manifests[0], s.placements[0])
		report, err := s.check(t, tt.content)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var found []string
		for _, p := range report.Problems {
			found = append(found, p.Check+": "+p.Text)
		}
		if got := strings.Join(found, "; "); !strings.Contains(got, tt.want) || (tt.want == "") != (got == "") || report.OK() != (got == "") {
			t.Errorf("%s: found %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestCounts: a report says what was looked at.
func TestCounts(t *testing.T) {
	s := newStore(t)
	s.put(t, "left behind by a crash")
	report, err := s.check(t, false)
	if err != nil {
		t.Fatal(err)
	}
	want := fsck.Report{Blobs: 2, Bytes: 9, Manifests: 1, Placements: 1, Tags: 1, Tiles: 1, Entries: 2, Orphans: 1}
	report.Problems = nil
	if fmt.Sprintf("%+v", *report) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v, want %+v", *report, want)
	}
}

// TestContent: content is read where that is asked for, and only there.
func TestContent(t *testing.T) {
	for content, want := range map[bool]int{true: 1, false: 0} {
		s := newStore(t)
		s.blobs[s.put(t, "a third").Digest] = 7
		report, err := fsck.Check(t.Context(), fsck.Options{
			Zones: repo.DefaultZones(), Census: s, Lookups: s, Blobs: rotten{s.content, oci.FromBytes([]byte("a third"))}, Audit: s.verify, Content: content,
		})
		if err != nil || len(report.Problems) != want {
			t.Errorf("content %v: %+v, %v", content, report, err)
		}
	}
}

// rotten is a store in which one blob has the bytes of another.
type rotten struct {
	blob.Store
	d oci.Digest
}

func (r rotten) Open(ctx context.Context, d oci.Digest) (blob.Content, error) {
	if d == r.d {
		d = oci.FromBytes([]byte("a layer"))
	}
	return r.Store.Open(ctx, d)
}

// TestManyProblems: a report is bounded, and says how much it leaves out.
func TestManyProblems(t *testing.T) {
	s := newStore(t)
	for i := range 1234 {
		s.tags[fmt.Sprint("t", i)] = oci.FromBytes([]byte("absent"))
	}
	report, err := s.check(t, false)
	if err != nil || len(report.Problems) != 1000 || report.More != 234 || report.OK() {
		t.Errorf("%d problems and %d more, %v", len(report.Problems), report.More, err)
	}
}

// TestCannotCheck: what cannot be read is no finding, and no clean report.
func TestCannotCheck(t *testing.T) {
	s := newStore(t)
	s.err = errors.New("the database is away")
	if report, err := s.check(t, false); report != nil || !errors.Is(err, s.err) {
		t.Errorf("%+v, %v", report, err)
	}
}
