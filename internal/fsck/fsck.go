// Package fsck holds the checker that recomputes what must be true of stored
// state, independently of the code that wrote it. It changes nothing.
package fsck

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Census lists everything that is stored. Each method calls fn for every row,
// in any order, until fn fails, and returns fn's error. fn may call Lookups.
type Census interface {
	EachBlob(ctx context.Context, fn func(d oci.Digest, size int64) error) error
	EachManifest(ctx context.Context, fn func(m *repo.Manifest) error) error
	// EachPlacement includes tombstones.
	EachPlacement(ctx context.Context, fn func(p *repo.Placement) error) error
	// EachTag lists tags in force.
	EachTag(ctx context.Context, fn func(r oci.Repository, tag string, d oci.Digest) error) error
	// EachTileBlob lists the blobs that logs consist of.
	EachTileBlob(ctx context.Context, fn func(d oci.Digest) error) error
}

// Lookups are single answers.
type Lookups interface {
	// HasBlob returns the recorded size, or repo.ErrNotFound.
	HasBlob(ctx context.Context, d oci.Digest) (int64, error)
	// PlacementOf returns a placement, tombstones included, or repo.ErrNotFound.
	PlacementOf(ctx context.Context, r oci.Repository, d oci.Digest) (*repo.Placement, error)
	// DecisionOf returns a decision by id, or repo.ErrNotFound.
	DecisionOf(ctx context.Context, id int64) (*api.Decision, error)
	// HasManifest reports whether the manifest is stored.
	HasManifest(ctx context.Context, d oci.Digest) (bool, error)
}

// Problem is one thing that is not as it must be.
type Problem struct {
	Check   string `json:"check"`   // which check: "blob", "log", "manifest", "placement", "tag", "audit"
	Subject string `json:"subject"` // what it is about: digest, origin/tile, repository@digest, repository:tag, entry
	Text    string `json:"text"`    // what is wrong
}

// Report is what was found.
type Report struct {
	Blobs      int       `json:"blobs"`
	Bytes      int64     `json:"bytes"`
	Manifests  int       `json:"manifests"`
	Placements int       `json:"placements"`
	Tags       int       `json:"tags"`
	Tiles      int       `json:"tiles"` // blobs of logs
	Entries    int64     `json:"audit_entries"`
	Orphans    int       `json:"orphans"` // blobs in the content store that nothing names; harmless
	Problems   []Problem `json:"problems"`
	More       int       `json:"more,omitempty"` // problems beyond maxProblems
}

// maxProblems bounds a report.
const maxProblems = 1000

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Options are what a check reads. What is not optional is required.
type Options struct {
	Zones   repo.Zones
	Census  Census
	Lookups Lookups
	Blobs   blob.Store
	// Logs are the logs of this server. Optional: of others is only said whether
	// their blobs are there.
	Logs []Log
	// Audit verifies the audit log, and the rows of the database against it.
	// Optional: without it nothing is said about them.
	Audit func(ctx context.Context) (*api.AuditCheck, error)
	// Content: read and hash every blob, not only compare sizes. Optional.
	Content bool
	// Progress is told how many blobs were looked at. Optional.
	Progress func(done int)
}

// Check reads everything and reports what is wrong. The error is about the
// checking, never about what was found.
func Check(ctx context.Context, o Options) (*Report, error) {
	c := &checker{Options: o, report: &Report{Problems: []Problem{}}, logged: map[oci.Digest]string{}, blamed: map[string]bool{}}
	for _, step := range []func(context.Context) error{c.blobs, c.logs, c.tiles, c.orphans, c.manifests, c.placements, c.tags, c.audit} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return c.report, nil
}

type checker struct {
	Options
	report *Report
	logged map[oci.Digest]string // blobs of logs, and what is in them
	blamed map[string]bool       // subjects of problems with logs
}

func (c *checker) wrong(check, subject, format string, args ...any) {
	if check == "log" {
		c.blamed[subject] = true
	}
	if len(c.report.Problems) >= maxProblems {
		c.report.More++
		return
	}
	c.report.Problems = append(c.report.Problems, Problem{check, subject, fmt.Sprintf(format, args...)})
}

// blobs: every recorded blob is in the content store, whole.
func (c *checker) blobs(ctx context.Context) error {
	return c.Census.EachBlob(ctx, func(d oci.Digest, size int64) error {
		c.report.Blobs++
		c.report.Bytes += size
		if c.Progress != nil {
			c.Progress(c.report.Blobs)
		}
		have, err := c.Blobs.Stat(ctx, d)
		switch {
		case errors.Is(err, blob.ErrNotFound):
			c.wrong("blob", d.String(), "recorded with %d bytes, and not in the content store", size)
			return nil
		case err != nil:
			return err
		case have != size:
			c.wrong("blob", d.String(), "recorded with %d bytes, %d in the content store", size, have)
			return nil
		}
		if !c.Content {
			return nil
		}
		return c.hash(ctx, "blob", d.String(), d)
	})
}

// hash reads a blob; check and subject are for what is wrong with it.
func (c *checker) hash(ctx context.Context, check, subject string, d oci.Digest) error {
	content, err := c.Blobs.Open(ctx, d)
	if err != nil {
		return err
	}
	defer content.Close()
	h := d.Algorithm().New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{content}, make([]byte, 256<<10)); err != nil {
		c.wrong(check, subject, "reading it: %v", err)
		return nil
	}
	if got := d.Algorithm().FromHash(h); got != d {
		c.wrong(check, subject, "its content is %s, and was written as %s", got, d)
	}
	return nil
}

// tiles: the blobs of logs are in the content store, those too of logs that
// nobody knows, and each has the content that its name says.
func (c *checker) tiles(ctx context.Context) error {
	return c.Census.EachTileBlob(ctx, func(d oci.Digest) error {
		if c.logged[d] == "" {
			if err := c.tile(ctx, d.String(), d, 0); err != nil {
				return err
			}
		}
		if !c.Content || c.blamed[c.logged[d]] {
			return nil
		}
		return c.hash(ctx, "log", c.logged[d], d)
	})
}

// orphans: content that no row names, left by a crash between the two.
func (c *checker) orphans(ctx context.Context) error {
	return c.Blobs.Walk(ctx, func(d oci.Digest, _ int64) error {
		if c.logged[d] != "" {
			return nil
		}
		_, err := c.Lookups.HasBlob(ctx, d)
		if errors.Is(err, repo.ErrNotFound) {
			c.report.Orphans++
			return nil
		}
		return err
	})
}

// manifests: the bytes are what the digest says, and the rows what the bytes say.
func (c *checker) manifests(ctx context.Context) error {
	return c.Census.EachManifest(ctx, func(m *repo.Manifest) error {
		c.report.Manifests++
		parsed, err := oci.ParseManifest(m.Raw, m.MediaType, m.Digest.Algorithm())
		if err != nil {
			c.wrong("manifest", m.Digest.String(), "%v", err)
			return nil
		}
		if parsed.Digest != m.Digest {
			c.wrong("manifest", m.Digest.String(), "its bytes are %s", parsed.Digest)
		}
		if parsed.Subject != nil && parsed.Subject.Digest != m.Subject || parsed.Subject == nil && !m.Subject.IsZero() {
			c.wrong("manifest", m.Digest.String(), "recorded subject %q is not that of its bytes", m.Subject)
		}
		refs := parsed.References()
		if len(refs) != len(m.References) {
			c.wrong("manifest", m.Digest.String(), "%d references recorded, its bytes have %d", len(m.References), len(refs))
			return nil
		}
		for i, ref := range refs {
			if err := c.reference(ctx, m, i, ref); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *checker) reference(ctx context.Context, m *repo.Manifest, i int, ref oci.Descriptor) error {
	row := m.References[i]
	if row.Digest != ref.Digest || row.Size != ref.Size {
		c.wrong("manifest", m.Digest.String(), "reference %d recorded as %s of %d bytes, its bytes say %s of %d", i, row.Digest, row.Size, ref.Digest, ref.Size)
		return nil
	}
	if row.Role == repo.RoleChild || row.Role == repo.RoleForeign {
		return nil // may be absent
	}
	size, err := c.Lookups.HasBlob(ctx, ref.Digest)
	switch {
	case errors.Is(err, repo.ErrNotFound):
		c.wrong("manifest", m.Digest.String(), "names %s, which is not recorded as a blob", ref.Digest)
		return nil
	case err == nil && size != ref.Size:
		c.wrong("manifest", m.Digest.String(), "says %s has %d bytes, it has %d", ref.Digest, ref.Size, size)
	}
	return err
}

// placements: what can be pulled stands on a manifest and on a decision that
// lets it.
func (c *checker) placements(ctx context.Context) error {
	return c.Census.EachPlacement(ctx, func(p *repo.Placement) error {
		c.report.Placements++
		name := p.Repository.String() + "@" + p.Digest.String()
		ok, err := c.Lookups.HasManifest(ctx, p.Digest)
		if err != nil {
			return err
		}
		if !ok {
			c.wrong("placement", name, "its manifest is not stored")
		}
		switch p.State {
		case repo.Admitted:
			return c.admitted(ctx, name, p)
		case repo.Attached:
			if p.Kind != oci.KindEvidence {
				c.wrong("placement", name, "%s stands ungated, as if it were evidence", p.Kind)
			}
		case repo.Held, repo.Denied, repo.Withdrawn, repo.Revoked, repo.Removed:
		default:
			c.wrong("placement", name, "unknown state %q", p.State)
		}
		return nil
	})
}

func (c *checker) admitted(ctx context.Context, name string, p *repo.Placement) error {
	zone, err := c.Zones.Of(p.Repository)
	if err != nil || zone.Sandbox {
		return nil //nolint:nilerr // a repository in no configured zone cannot be reached, and a sandbox has no decisions
	}
	if p.Decision == 0 {
		c.wrong("placement", name, "can be pulled without a decision")
		return nil
	}
	d, err := c.Lookups.DecisionOf(ctx, p.Decision)
	if errors.Is(err, repo.ErrNotFound) {
		c.wrong("placement", name, "can be pulled by decision %d, which does not exist", p.Decision)
		return nil
	}
	if err != nil {
		return err
	}
	if d.Repository != p.Repository.String() || d.Digest != p.Digest.String() {
		c.wrong("placement", name, "can be pulled by decision %d, which is about %s@%s", p.Decision, d.Repository, d.Digest)
	}
	if d.Outcome != api.Allow && d.Clause == "enter" {
		c.wrong("placement", name, "can be pulled, and decision %d says %s", p.Decision, d.Outcome)
	}
	return nil
}

// tags: every tag in force leads to a placement of its repository.
func (c *checker) tags(ctx context.Context) error {
	return c.Census.EachTag(ctx, func(r oci.Repository, tag string, d oci.Digest) error {
		c.report.Tags++
		p, err := c.Lookups.PlacementOf(ctx, r, d)
		if errors.Is(err, repo.ErrNotFound) || err == nil && (p.State == repo.Removed || p.State == repo.Held || p.State == repo.Denied) {
			c.wrong("tag", r.String()+":"+tag, "points at %s, which does not stand there", d)
			return nil
		}
		return err
	})
}

// audit: the log is what its head says, and the rows are what the log has.
func (c *checker) audit(ctx context.Context) error {
	if c.Audit == nil {
		return nil
	}
	check, err := c.Audit(ctx)
	if err != nil {
		return err
	}
	c.report.Entries = check.Entries
	for _, part := range check.Checks {
		if part.State == api.AuditOK || part.State == api.AuditNone || part.Name == "rows" && len(check.Rows) > 0 {
			continue
		}
		c.wrong("audit", part.Name, "%s", part.Text)
	}
	for _, row := range check.Rows {
		c.wrong("audit", fmt.Sprint(row.Seq), "%s", row.Text)
	}
	c.report.More += check.MoreRows
	return nil
}
