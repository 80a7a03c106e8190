package push

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// saveEvery is after how many bytes the hash state of a running upload is
// stored. What lies behind the last one is hashed again from the store after a
// restart, so it only bounds that work.
const saveEvery = 256 << 20

// upload is the state of one upload in this process.
type upload struct {
	// Guarded by Flow.mu:
	busy      bool      // a request is writing
	principal string    // whose it is; "" until it is known
	rested    time.Time // when the last request ended
	done      bool      // being committed: what is no upload any more is the blob digest
	digest    oci.Digest

	// Only for the request that has it busy:
	session   Session
	hash      hash.Hash // SHA-256 over the first size bytes
	size      int64
	saved     int64
	following Following
}

// Begin opens an upload in act's repository and returns its id.
func (f *Flow) Begin(ctx context.Context, act authz.Act) (blob.UploadID, error) {
	r := act.Repository()
	if err := act.Permits(r, authz.Push, authz.Attach); err != nil {
		return "", err
	}
	zone, err := f.Zones.Of(r)
	if err != nil {
		return "", err
	}
	if err := f.makeRoom(ctx, act.Principal().Name()); err != nil {
		return "", err
	}
	s, err := f.random()
	if err != nil {
		return "", err
	}
	id, now := blob.UploadID(s), f.Clock()
	who := act.Principal().Name()
	u := &upload{principal: who, rested: now, hash: oci.SHA256.New(), session: Session{ID: id, Repository: r, Principal: who, Started: now, Touched: now}}
	if err := f.Uploads.Begin(ctx, id); err != nil {
		return "", err
	}
	if err := f.Sessions.BeginSession(ctx, u.session); err != nil {
		return "", errors.Join(err, f.Uploads.Cancel(ctx, id))
	}
	f.follow(ctx, u, zone)
	f.mu.Lock()
	f.live[id] = u
	f.mu.Unlock()
	return id, nil
}

// quiet is how long an upload must have rested to make room for another of the
// same principal.
const quiet = 10 * time.Minute

// makeRoom keeps a principal within Limits.Uploads: the upload that rested
// longest is given up for a new one, unless all of them are being worked on.
// Errors match ErrTooMany.
func (f *Flow) makeRoom(ctx context.Context, principal string) error {
	f.mu.Lock()
	n := 0
	var oldest *upload
	for _, u := range f.live {
		if u.principal != principal {
			continue
		}
		n++
		if !u.busy && (oldest == nil || u.rested.Before(oldest.rested)) {
			oldest = u
		}
	}
	if n < f.Limits.Uploads {
		f.mu.Unlock()
		return nil
	}
	if oldest == nil || f.Clock().Sub(oldest.rested) < quiet {
		f.mu.Unlock()
		return fmt.Errorf("%s has %d of them, at most %d: %w; finish or cancel some, or try again in %s", principal, n, f.Limits.Uploads, ErrTooMany, quiet)
	}
	oldest.busy = true
	f.mu.Unlock()
	defer f.release(oldest, oldest.session.ID, true)
	return f.drop(ctx, oldest)
}

// follow starts the analysis of u, unless nothing is analysed in its zone.
func (f *Flow) follow(ctx context.Context, u *upload, zone repo.Zone) {
	if zone.Sandbox {
		u.following = noAnalysis{}
		return
	}
	t := &trailing{flow: f, upload: u, id: u.session.ID}
	u.following = f.Analysis.Follow(ctx, t.read, t.close)
}

// trailing reads an upload behind its writer: from where uploads are kept, and
// once it is committed from the blob. It is read by one goroutine.
type trailing struct {
	flow   *Flow
	upload *upload
	id     blob.UploadID
	blob   blob.Content // nil until the upload is the blob
}

func (t *trailing) read(ctx context.Context, p []byte, off int64) (int, error) {
	if t.blob != nil {
		return t.blob.ReadAt(p, off)
	}
	n, err := t.flow.Uploads.ReadAt(ctx, t.id, p, off)
	if !errors.Is(err, blob.ErrUploadUnknown) {
		return n, err
	}
	t.flow.mu.Lock()
	d, done := t.upload.digest, t.upload.done
	t.flow.mu.Unlock()
	if !done {
		return n, err
	}
	c, err := t.flow.Blobs.Open(ctx, d)
	if err != nil {
		return 0, err
	}
	t.blob = c
	return c.ReadAt(p, off)
}

func (t *trailing) close() {
	if t.blob != nil {
		_ = t.blob.Close() // it was read only
	}
}

// noAnalysis is the Following of an upload into a sandbox.
type noAnalysis struct{}

func (noAnalysis) Grow(int64)               {}
func (noAnalysis) Finish(int64, oci.Digest) {}
func (noAnalysis) Abort()                   {}

// take returns the upload for writing, rebuilding it after a restart. The
// caller releases it. Errors match blob.ErrUploadUnknown and ErrBusy.
func (f *Flow) take(ctx context.Context, act authz.Act, id blob.UploadID) (*upload, error) {
	if err := act.Permits(act.Repository(), authz.Push, authz.Attach); err != nil {
		return nil, err
	}
	f.mu.Lock()
	u, ok := f.live[id]
	if ok && u.busy {
		f.mu.Unlock()
		return nil, fmt.Errorf("upload %s: %w", id, ErrBusy)
	}
	if !ok {
		u = &upload{}
		f.live[id] = u
	}
	u.busy = true
	f.mu.Unlock()
	var err error
	if u.hash == nil {
		err = f.rebuild(ctx, u, id)
	}
	if err == nil && (u.session.Repository != act.Repository() || u.session.Principal != act.Principal().Name()) {
		// Somebody else's upload is unknown to the caller.
		err = fmt.Errorf("upload %s in %s: %w", id, act.Repository(), blob.ErrUploadUnknown)
	}
	if err != nil {
		f.release(u, id, u.hash == nil)
		return nil, err
	}
	return u, nil
}

// release gives the upload back; forget drops it from memory.
func (f *Flow) release(u *upload, id blob.UploadID, forget bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u.busy, u.principal, u.rested = false, u.session.Principal, f.Clock()
	if forget && f.live[id] == u {
		delete(f.live, id)
	}
}

// rebuild brings back an upload that another process, or this one before a
// restart, had begun: bytes that were kept count, whether they were
// acknowledged or not, and the hash goes on from the last stored state that
// lies within them.
func (f *Flow) rebuild(ctx context.Context, u *upload, id blob.UploadID) error {
	s, err := f.Sessions.Session(ctx, id)
	if errors.Is(err, repo.ErrNotFound) {
		return fmt.Errorf("upload %s: %w", id, blob.ErrUploadUnknown)
	}
	if err != nil {
		return err
	}
	zone, err := f.Zones.Of(s.Repository)
	if err != nil {
		return err
	}
	size, err := f.Uploads.Size(ctx, id)
	if err != nil {
		return err
	}
	h, from := oci.SHA256.New(), int64(0)
	if s.Offset <= size && len(s.Hash) > 0 {
		if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(s.Hash); err != nil {
			return fmt.Errorf("restoring hash state of upload %s: %v", id, err)
		}
		from = s.Offset
	}
	read := readerAt{ctx: ctx, read: func(ctx context.Context, p []byte, off int64) (int, error) { return f.Uploads.ReadAt(ctx, id, p, off) }}
	if _, err := io.Copy(h, io.NewSectionReader(read, from, size-from)); err != nil {
		return fmt.Errorf("rehashing upload %s from %d: %v", id, from, err)
	}
	u.session, u.hash, u.size, u.saved = s, h, size, from
	f.follow(ctx, u, zone)
	u.following.Grow(size)
	return nil
}

// readerAt is an io.ReaderAt over a read function.
type readerAt struct {
	ctx  context.Context
	read func(ctx context.Context, p []byte, off int64) (int, error)
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		m, err := r.read(r.ctx, p[n:], off+int64(n))
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// AnyOffset tells Append and Finish to write at the end, wherever that is.
const AnyOffset = -1

// Append adds r at offset and returns the size after it. Bytes that arrived
// before r failed are kept, and count. Errors match blob.ErrUploadUnknown,
// blob.ErrOffset, ErrBusy, ErrTooLarge, blob.ErrNoSpace.
func (f *Flow) Append(ctx context.Context, act authz.Act, id blob.UploadID, offset int64, r io.Reader) (int64, error) {
	u, err := f.take(ctx, act, id)
	if err != nil {
		return 0, err
	}
	defer f.release(u, id, false)
	err = f.append(ctx, u, offset, r)
	return u.size, err
}

func (f *Flow) append(ctx context.Context, u *upload, offset int64, r io.Reader) error {
	if offset != AnyOffset && offset != u.size {
		return fmt.Errorf("writing at %d of an upload of %d bytes: %w", offset, u.size, blob.ErrOffset)
	}
	// One byte more than allowed is read, so that "too large" is noticed.
	hashing := &hashReader{r: io.LimitReader(r, f.Limits.Blob-u.size+1), h: u.hash}
	n, err := f.Uploads.Append(ctx, u.session.ID, u.size, hashing, u.following.Grow)
	if n != hashing.n {
		// The store kept less than was hashed, as when a part could not be sent:
		// the next request starts from what was kept, as after a restart.
		u.hash = nil
		u.following.Abort()
		return errors.Join(err, fmt.Errorf("upload %s kept %d of %d bytes; ask for its size and go on from there", u.session.ID, n, hashing.n))
	}
	u.size += n
	u.following.Grow(u.size)
	if u.size > f.Limits.Blob {
		return errors.Join(fmt.Errorf("a blob of more than %d bytes: %w; the operator may raise limits.blob", f.Limits.Blob, ErrTooLarge), f.drop(context.WithoutCancel(ctx), u))
	}
	if saveErr := f.save(context.WithoutCancel(ctx), u); saveErr != nil && err == nil {
		err = saveErr
	}
	return err
}

func (f *Flow) forget(u *upload) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.live, u.session.ID)
}

// save stores the hash state when enough has come since the last time.
func (f *Flow) save(ctx context.Context, u *upload) error {
	if u.size-u.saved < saveEvery {
		return nil
	}
	state, err := u.hash.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return fmt.Errorf("saving hash state of upload %s: %v", u.session.ID, err)
	}
	u.session.Offset, u.session.Hash, u.session.Touched = u.size, state, f.Clock()
	if err := f.Sessions.SaveSession(ctx, u.session); err != nil {
		return err
	}
	u.saved = u.size
	return nil
}

// hashReader hashes what is read through it.
type hashReader struct {
	r io.Reader
	h hash.Hash
	n int64
}

func (h *hashReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.h.Write(p[:n])
	h.n += int64(n)
	return n, err
}

// Size returns how many bytes of the upload are kept. Errors match
// blob.ErrUploadUnknown.
func (f *Flow) Size(ctx context.Context, act authz.Act, id blob.UploadID) (int64, error) {
	u, err := f.take(ctx, act, id)
	if errors.Is(err, ErrBusy) {
		return f.Uploads.Size(ctx, id)
	}
	if err != nil {
		return 0, err
	}
	defer f.release(u, id, false)
	return u.size, nil
}

// Finish adds r at offset, verifies that the whole is d, and makes it a blob
// of act's repository. An upload whose content is not d is removed. Errors
// match ErrDigestMismatch and those of Append.
func (f *Flow) Finish(ctx context.Context, act authz.Act, id blob.UploadID, d oci.Digest, offset int64, r io.Reader) error {
	u, err := f.take(ctx, act, id)
	if err != nil {
		return err
	}
	ended := false
	defer func() { f.release(u, id, ended) }()
	if err := f.append(ctx, u, offset, r); err != nil {
		return err
	}
	ended = true
	got, err := f.digest(ctx, u, d.Algorithm())
	if err != nil {
		return err
	}
	if got != d {
		return errors.Join(fmt.Errorf("%d bytes are %s, not %s: %w; send the upload again", u.size, got, d, ErrDigestMismatch), f.drop(ctx, u))
	}
	// From here on the follower finds the bytes in one place or the other.
	f.mu.Lock()
	u.done, u.digest = true, d
	f.mu.Unlock()
	if err := f.Uploads.Commit(ctx, id, u.size, d); err != nil {
		return err
	}
	if err := f.record(ctx, act, d, u.size); err != nil {
		u.following.Abort()
		return err
	}
	u.following.Finish(u.size, d)
	return f.Sessions.EndSession(ctx, id)
}

// digest returns the digest of what arrived; anything but SHA-256 is read
// again.
func (f *Flow) digest(ctx context.Context, u *upload, alg oci.Algorithm) (oci.Digest, error) {
	if alg == oci.SHA256 {
		return alg.FromHash(u.hash), nil
	}
	h := alg.New()
	read := readerAt{ctx: ctx, read: func(ctx context.Context, p []byte, off int64) (int, error) {
		return f.Uploads.ReadAt(ctx, u.session.ID, p, off)
	}}
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, io.NewSectionReader(read, 0, u.size), make([]byte, 256<<10)); err != nil {
		return oci.Digest{}, fmt.Errorf("hashing upload %s: %v", u.session.ID, err)
	}
	return alg.FromHash(h), nil
}

// record makes a durable blob known and leases it to who brought it.
func (f *Flow) record(ctx context.Context, act authz.Act, d oci.Digest, size int64) error {
	ev, err := f.event(act.Principal(), "blob.pushed")
	if err != nil {
		return err
	}
	ev = ev.On(act.Repository(), d).With("size", fmt.Sprint(size))
	until := f.Clock().Add(f.Limits.Lease)
	return f.Update(ctx, func(tx Tx) error {
		if err := tx.PutBlob(ctx, d, size); err != nil {
			return err
		}
		if err := tx.Lease(ctx, act.Repository(), d, act.Principal().Name(), until); err != nil {
			return err
		}
		return tx.Append(ctx, ev)
	})
}

// Cancel removes the upload. Errors match blob.ErrUploadUnknown.
func (f *Flow) Cancel(ctx context.Context, act authz.Act, id blob.UploadID) error {
	u, err := f.take(ctx, act, id)
	if err != nil {
		return err
	}
	defer f.release(u, id, true)
	return f.drop(ctx, u)
}

func (f *Flow) drop(ctx context.Context, u *upload) error {
	u.following.Abort()
	f.forget(u)
	return errors.Join(f.Uploads.Cancel(ctx, u.session.ID), f.Sessions.EndSession(ctx, u.session.ID))
}

// Sweep removes uploads that rested longer than Limits.Idle, and bytes without
// a session. It is a periodic job.
func (f *Flow) Sweep(ctx context.Context) error {
	before := f.Clock().Add(-f.Limits.Idle)
	var old []blob.UploadID
	err := f.Uploads.Walk(ctx, func(id blob.UploadID, _ int64, written time.Time) error {
		if written.Before(before) {
			old = append(old, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range old {
		if err := f.sweep(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (f *Flow) sweep(ctx context.Context, id blob.UploadID) error {
	f.mu.Lock()
	u := f.live[id]
	if u != nil && u.busy {
		f.mu.Unlock()
		return nil
	}
	delete(f.live, id)
	f.mu.Unlock()
	if u != nil && u.following != nil {
		u.following.Abort()
	}
	return errors.Join(f.Uploads.Cancel(ctx, id), f.Sessions.EndSession(ctx, id))
}
