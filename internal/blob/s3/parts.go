package s3

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/bonded-dev/bonded/internal/blob"
)

// part is one object of an upload. It never changes.
type part struct {
	offset, size int64
	etag         string
}

func (p part) end() int64 { return p.offset + p.size }

// end returns the size of an upload of these parts.
func end(parts []part) int64 {
	if len(parts) == 0 {
		return 0
	}
	return parts[len(parts)-1].end()
}

// openName is the name, beside the parts, that says that an upload exists. It
// is the first to be made and the first to be removed, and comes last in every
// listing, so that a listing with it is complete.
const openName = "open"

// folder returns what the names of an upload begin with, less the prefix.
func folder(id blob.UploadID) string { return "uploads/" + string(id) + "/" }

func (s *Store) openKey(id blob.UploadID) string { return s.prefix + folder(id) + openName }

func (s *Store) partKey(id blob.UploadID, offset int64) string {
	return s.prefix + folder(id) + partName(offset)
}

// partName is made so that names sort as offsets do.
func partName(offset int64) string { return fmt.Sprintf("%016x", offset) }

// parsePart returns the part that an object of that name is.
func parsePart(name string, o minio.ObjectInfo) (part, bool) {
	offset, err := strconv.ParseInt(name, 16, 64)
	if err != nil || offset < 0 || partName(offset) != name {
		return part{}, false
	}
	return part{offset, o.Size, o.ETag}, true
}

// memory is what this process knows of the parts of uploads: those it wrote
// and those it has listed. It saves requests, and Commit joins the parts that
// were known here, or none. What is not remembered is listed again.
type memory struct {
	mu      sync.Mutex
	uploads map[blob.UploadID]*record
}

type record struct {
	parts   []part // without gaps from 0; only ever appended to
	writers int    // Appends under way here, 0 or 1
}

// maxRemembered is how many uploads are remembered. Each may have some hundred
// parts of 60 bytes.
const maxRemembered = 2000

// get returns the known parts, and whether an Append is under way here, in
// which case there are no others.
func (m *memory) get(id blob.UploadID) (parts []part, writing bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.uploads[id]
	if r == nil {
		return nil, false
	}
	return r.parts, r.writers > 0
}

// learn adds what was listed to what is known and returns all of it. Errors
// match errDamaged: there is a gap, an overlap, or a part that was another one.
func (m *memory) learn(id blob.UploadID, listed []part) ([]part, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.record(id)
	known := map[int64]part{}
	for _, p := range r.parts {
		known[p.offset] = p
	}
	for _, p := range listed {
		switch {
		case known[p.offset] == p: // learnt meanwhile
		case p.offset == end(r.parts) && p.size > 0:
			r.parts = append(r.parts, p)
		default:
			return nil, errDamaged
		}
	}
	return r.parts, nil
}

// record returns what is remembered of an upload. Callers hold mu.
func (m *memory) record(id blob.UploadID) *record {
	if r := m.uploads[id]; r != nil {
		return r
	}
	for other, r := range m.uploads {
		if len(m.uploads) < maxRemembered {
			break
		}
		if r.writers == 0 { // of the idle ones, any is as good
			delete(m.uploads, other)
		}
	}
	r := &record{}
	m.uploads[id] = r
	return r
}

// add remembers a part that this process wrote. Without a record the upload
// was cancelled meanwhile.
func (m *memory) add(id blob.UploadID, p part) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.uploads[id]; r != nil && end(r.parts) == p.offset {
		r.parts = append(r.parts, p)
	}
}

// begin counts an Append that begins.
func (m *memory) begin(id blob.UploadID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.record(id).writers++
}

// end counts an Append that ends.
func (m *memory) end(id blob.UploadID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.uploads[id]; r != nil && r.writers > 0 {
		r.writers--
	}
}

// forget is for uploads that are gone.
func (m *memory) forget(id blob.UploadID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.uploads, id)
}

// parts returns all parts of an upload, listing those that are not known yet.
// Errors match blob.ErrUploadUnknown and errDamaged.
func (u *Uploads) parts(ctx context.Context, id blob.UploadID) ([]part, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !id.Valid() {
		return nil, blob.ErrUploadUnknown
	}
	known, _ := u.s.memory.get(id)
	after := ""
	if len(known) > 0 {
		after = partName(known[len(known)-1].offset)
	}
	var listed []part
	open := false
	err := u.s.list(ctx, folder(id), after, func(name string, o minio.ObjectInfo) error {
		if p, ok := parsePart(name, o); ok {
			listed = append(listed, p)
		}
		open = open || name == openName
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case !open:
		u.s.memory.forget(id)
		return nil, blob.ErrUploadUnknown
	}
	return u.s.memory.learn(id, listed)
}

// lost explains an error of reading parts: those that are gone went with their
// upload, and those that were replaced are damage.
func (u *Uploads) lost(ctx context.Context, id blob.UploadID, err error) error {
	switch {
	case unmet(err):
		return errDamaged
	case code(err) == minio.NoSuchKey:
		u.s.memory.forget(id)
		if _, perr := u.parts(ctx, id); perr != nil {
			return perr
		}
		return errDamaged
	}
	return err
}

// Walk implements blob.Uploads. An upload whose removal did not end is named
// with size 0.
func (u *Uploads) Walk(ctx context.Context, fn func(blob.UploadID, int64, time.Time) error) error {
	var w walk
	err := u.s.list(ctx, "uploads/", "", func(name string, o minio.ObjectInfo) error {
		dir, base, ok := strings.Cut(name, "/")
		id := blob.UploadID(dir)
		if !ok || !id.Valid() {
			return nil
		}
		if id != w.id {
			if err := w.finish(fn); err != nil {
				return err
			}
			w = walk{id: id}
		}
		w.see(base, o)
		return nil
	})
	if err == nil {
		err = w.finish(fn)
	}
	if err != nil {
		return fmt.Errorf("walking uploads: %w", err)
	}
	return nil
}

// walk is the upload that Walk is at.
type walk struct {
	id      blob.UploadID
	size    int64
	open    bool
	written time.Time
}

func (w *walk) see(name string, o minio.ObjectInfo) {
	if p, ok := parsePart(name, o); ok && p.offset == w.size {
		w.size = p.end()
	}
	w.open = w.open || name == openName
	if o.LastModified.After(w.written) {
		w.written = o.LastModified
	}
}

func (w *walk) finish(fn func(blob.UploadID, int64, time.Time) error) error {
	switch {
	case w.id == "":
		return nil
	case !w.open:
		return fn(w.id, 0, w.written)
	}
	return fn(w.id, w.size, w.written)
}
