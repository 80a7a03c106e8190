package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/blobtest"
	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/blob/disk/disktest"
	"github.com/bonded-dev/bonded/internal/oci"
)

// story is what happens to a store in the tests of this file: a blob is put,
// one is uploaded in two pieces with bytes to cut, and then the same one again
// by somebody else.
type story struct {
	small, large []byte
	boot         string       // of the machine
	acked        []oci.Digest // stored, says the store
	kept         int64        // of the large one, says the store
}

func newStory() *story {
	return &story{small: blobtest.Bytes(100, 1), large: blobtest.Bytes(300_000, 2), boot: "first"}
}

func (st *story) content(d oci.Digest) []byte {
	for _, b := range [][]byte{st.small, st.large} {
		if oci.FromBytes(b) == d {
			return b
		}
	}
	return nil
}

// run tells the story once, up to the first error.
func (st *story) run(ctx context.Context, fs disk.FS) error {
	s, err := disk.Open("/data", disk.Options{FS: fs, Boot: st.boot})
	if err != nil {
		return err
	}
	if err := s.Put(ctx, oci.FromBytes(st.small), st.small); err != nil {
		return err
	}
	st.acked = append(st.acked, oci.FromBytes(st.small))
	for n := 1; n <= 2; n++ {
		st.kept = 0
		if err := st.upload(ctx, s.Uploads(), blobtest.ID(n)); err != nil {
			return err
		}
	}
	return nil
}

// upload brings the large blob in under the given name, from where it stands.
func (st *story) upload(ctx context.Context, u *disk.Uploads, id blob.UploadID) error {
	at, err := u.Size(ctx, id)
	if errors.Is(err, blob.ErrUploadUnknown) {
		at, err = 0, u.Begin(ctx, id)
	}
	if err != nil {
		return err
	}
	sent := append(bytes.Clone(st.large), "more"...)
	for _, end := range []int{280_000, len(sent)} {
		if at >= int64(end) {
			continue
		}
		n, err := u.Append(ctx, id, at, bytes.NewReader(sent[at:end]), nil)
		at += n
		st.kept = at
		if err != nil {
			if size, serr := u.Size(ctx, id); serr == nil && size != at {
				return fmt.Errorf("upload has %d bytes, Append said %d when: %v", size, at, err)
			}
			return err
		}
	}
	d := oci.FromBytes(st.large)
	if err := u.Commit(ctx, id, int64(len(st.large)), d); err != nil {
		return err
	}
	st.acked = append(st.acked, d)
	return nil
}

// check says what is wrong with a store that the story left: whatever is
// visible must be complete, and what was acknowledged must be there.
func (st *story) check(ctx context.Context, fs disk.FS) error {
	s, err := disk.Open("/data", disk.Options{FS: fs, Boot: st.boot})
	if err != nil {
		return err
	}
	err = s.Walk(ctx, func(d oci.Digest, size int64) error {
		b, err := readBlob(ctx, s, d)
		if err != nil || int64(len(b)) != size {
			return fmt.Errorf("reading %s of %d bytes: %d bytes, %v", d, size, len(b), err)
		}
		return blob.Verify(d, b)
	})
	if err != nil {
		return err
	}
	for _, d := range st.acked {
		if b, err := readBlob(ctx, s, d); err != nil || !bytes.Equal(b, st.content(d)) {
			return fmt.Errorf("acknowledged %s is %d bytes, %v", d, len(b), err)
		}
	}
	return commitAll(ctx, s)
}

func readBlob(ctx context.Context, s blob.Store, d oci.Digest) ([]byte, error) {
	c, err := s.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return io.ReadAll(c)
}

// commitAll commits every upload as what it holds, whatever that is.
func commitAll(ctx context.Context, s *disk.Store) error {
	u := s.Uploads()
	return u.Walk(ctx, func(id blob.UploadID, size int64, _ time.Time) error {
		b := make([]byte, size)
		if _, err := u.ReadAt(ctx, id, b, 0); err != nil && size > 0 {
			return err
		}
		d := oci.FromBytes(b)
		if err := u.Commit(ctx, id, size, d); err != nil {
			return err
		}
		if got, err := readBlob(ctx, s, d); err != nil || !bytes.Equal(got, b) {
			return fmt.Errorf("upload %s of %d bytes became %d bytes, %v", id, size, len(got), err)
		}
		return nil
	})
}

// TestPowerCut cuts the power after each change of the file system.
func TestPowerCut(t *testing.T) {
	for n := 0; ; n++ {
		st, d := newStory(), disktest.New()
		d.CutAfter(n)
		err := st.run(t.Context(), d)
		if (err != nil) != d.Off() {
			t.Fatalf("after %d changes: %v", n, err)
		}
		for name, loss := range disktest.Losses(3, uint64(n)) {
			left := d.Restart(loss)
			st.boot = "second"
			if err := st.check(t.Context(), left); err != nil {
				t.Errorf("cut after %d changes, lost %s: %v", n, name, err)
			}
			u := open(t, "/data", disk.Options{FS: left, Boot: st.boot}).Uploads()
			err := u.Walk(t.Context(), func(id blob.UploadID, size int64, _ time.Time) error {
				return fmt.Errorf("upload %s has %d bytes", id, size)
			})
			if err != nil {
				t.Errorf("cut after %d changes, lost %s, then: %v", n, name, err)
			}
			// It goes on, and another cut at the end loses nothing more.
			again := newStory()
			again.boot = "second"
			if err := again.run(t.Context(), left); err != nil {
				t.Errorf("cut after %d changes, lost %s, then: %v", n, name, err)
			}
			again.acked, again.boot = append(again.acked, st.acked...), "third"
			if err := again.check(t.Context(), left.Restart(disktest.Everything())); err != nil {
				t.Errorf("cut after %d changes, lost %s, told again and cut: %v", n, name, err)
			}
		}
		if err == nil {
			return
		}
	}
}

// TestKill ends the process after each change: what Append said it kept is in
// the upload or in the blob, and the next process does not take for durable
// what the first only wrote.
func TestKill(t *testing.T) {
	for n := 0; ; n++ {
		st, d := newStory(), disktest.New()
		d.CutAfter(n)
		err := st.run(t.Context(), d)
		d.On()
		s := open(t, "/data", disk.Options{FS: d, Boot: st.boot})
		size, serr := s.Stat(t.Context(), oci.FromBytes(st.large))
		for i := 1; i <= 2; i++ {
			if n, err := s.Uploads().Size(t.Context(), blobtest.ID(i)); err == nil {
				size, serr = max(size, n), nil
			}
		}
		if want := min(st.kept, int64(len(st.large))); size < want || (want > 0 && serr != nil) {
			t.Errorf("killed after %d changes: %d bytes left (%v), want %d", n, size, serr, want)
		}
		if err := st.run(t.Context(), d); err != nil {
			t.Errorf("killed after %d changes, then: %v", n, err)
		}
		if err := st.check(t.Context(), d.Restart(disktest.Everything())); err != nil {
			t.Errorf("killed after %d changes, then a power cut: %v", n, err)
		}
		if err == nil {
			return
		}
	}
}

// TestFaults fails each call of the file system once, tells the story again
// until it ends well, and then cuts the power.
func TestFaults(t *testing.T) {
	for when, name := range map[disktest.When]string{disktest.Before: "before", disktest.Half: "half", disktest.After: "after"} {
		for at := 1; ; at++ {
			st, d := newStory(), disktest.New()
			f := &disktest.Faults{FS: d, At: at, When: when, Err: syscall.EIO}
			err := st.run(t.Context(), f)
			if err == nil && f.Calls() < at {
				break
			}
			if err != nil && !errors.Is(err, syscall.EIO) {
				t.Errorf("%s call %d fails: %v", name, at, err)
			}
			if err := st.check(t.Context(), d.Restart(disktest.Nothing())); err != nil {
				t.Errorf("%s call %d fails: %v", name, at, err)
			}
			if err := st.run(t.Context(), f); err != nil {
				t.Errorf("%s call %d fails, then: %v", name, at, err)
			}
			if err := st.check(t.Context(), d.Restart(disktest.Everything())); err != nil {
				t.Errorf("%s call %d fails, then a power cut: %v", name, at, err)
			}
		}
	}
}

// TestFullDisk fails each call of an upload with what a full disk says.
func TestFullDisk(t *testing.T) {
	full := map[string]bool{}
	for at := 1; ; at++ {
		st, d := newStory(), disktest.New()
		f := &disktest.Faults{FS: d, At: at, When: disktest.Half, Err: syscall.ENOSPC}
		err := st.run(t.Context(), f)
		if f.Calls() < at {
			break
		}
		if errors.Is(err, blob.ErrNoSpace) {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("call %d: %v hides its cause", at, err)
			}
			full[fmt.Sprint(err)] = true
		}
		if err := st.check(t.Context(), d.Restart(disktest.Nothing())); err != nil {
			t.Errorf("call %d: %v", at, err)
		}
	}
	if len(full) < 5 {
		t.Errorf("a full disk shows in %d ways only: %v", len(full), full)
	}
}
