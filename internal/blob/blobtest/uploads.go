package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

const mib = 1 << 20

func testBegin(t *testing.T, f *fixture) {
	id := f.begin(nil)
	f.expectUpload(id, nil)
	if err := f.uploads.Begin(t.Context(), id); err == nil {
		t.Error("beginning an upload that exists is no error")
	}
	f.append(id, 0, []byte("x"))
	if err := f.uploads.Begin(t.Context(), id); err == nil {
		t.Error("beginning an upload that exists is no error")
	}
	f.expectUpload(id, []byte("x"))
}

func testAppendAndCommit(t *testing.T, f *fixture) {
	for _, n := range []int{0, 1, 100_000, 5*mib - 1, 5 * mib, 8 * mib, 8*mib + 1, 21*mib + 17} {
		for _, alg := range algorithms {
			data := Bytes(n, uint64(n)+uint64(len(alg)))
			id := f.begin(data)
			f.expectUpload(id, data)
			d := alg.DigestOf(data)
			f.expectNoBlob(d)
			if err := f.uploads.Commit(t.Context(), id, int64(n), d); err != nil {
				t.Fatal(err)
			}
			f.expectBlob(d, data)
			f.expectNoUpload(id)
			if n > mib {
				break // once is enough for the large ones
			}
		}
		if t.Failed() {
			t.Fatalf("at %d bytes", n)
		}
	}
}

// testAppendInPieces has small pieces at the start, in the middle, in long
// runs and at the end: a store that joins pieces must get each join right.
func testAppendInPieces(t *testing.T, f *fixture) {
	for name, pieces := range map[string][]int{
		"tiny":         {1, 1, 1, 1, 1},
		"growing":      {1, 10, 100, 1000, 10_000, 100_000, mib, 6 * mib},
		"small run":    {mib, mib, mib, mib, mib, mib, mib, mib, mib, mib, mib},
		"small first":  {3 * mib, 16 * mib, 1},
		"small middle": {8 * mib, 100, 8 * mib, 4 * mib, 8 * mib},
		"small last":   {8 * mib, 5 * mib, 3},
		"odd":          {5*mib - 1, 1, 5*mib + 1, 5*mib - 1, 5 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{T: t, store: f.store, uploads: f.uploads, ids: f.ids}
			total := 0
			for _, n := range pieces {
				total += n
			}
			data := Bytes(total, uint64(total))
			id, at := f.begin(nil), 0
			for _, n := range pieces {
				f.append(id, int64(at), data[at:at+n])
				f.append(id, int64(at+n), nil)
				at += n
			}
			f.expectUpload(id, data)
			f.commit(id, data)
		})
	}
}

func testAppendOffsets(t *testing.T, f *fixture) {
	id := f.begin([]byte("0123456789"))
	for _, offset := range []int64{-1, 0, 9, 11, 1 << 40} {
		n, err := f.uploads.Append(t.Context(), id, offset, plain([]byte("wrong")), nil)
		if !errors.Is(err, blob.ErrOffset) || n != 0 {
			t.Errorf("Append at %d = %d, %v, want 0, ErrOffset", offset, n, err)
		}
	}
	f.expectUpload(id, []byte("0123456789"))
	f.append(id, 10, []byte("abc"))
	f.commit(id, []byte("0123456789abc"))
}

func testAppendReaderFails(t *testing.T, f *fixture) {
	data := Bytes(9*mib+1000, 5)
	broken := errors.New("connection reset")
	for _, n := range []int{0, 1, 70_000, 9 * mib} {
		// A body that is cut short ends with io.ErrUnexpectedEOF, which is no end.
		for _, cause := range []error{broken, io.ErrUnexpectedEOF} {
			id := f.begin(data[:500])
			kept, err := f.uploads.Append(t.Context(), id, 500, failing(data[500:500+n], cause), nil)
			if !errors.Is(err, cause) || kept != int64(n) {
				t.Errorf("Append whose reader fails after %d bytes = %d, %v", n, kept, err)
			}
			f.expectUpload(id, data[:500+n])
			f.append(id, int64(500+n), data[500+n:])
			f.commit(id, data)
		}
	}
}

func testAppendReports(t *testing.T, f *fixture) {
	data := Bytes(17*mib, 9)
	id := f.begin(data[:mib])
	last := int64(mib)
	n, err := f.uploads.Append(t.Context(), id, mib, plain(data[mib:]), func(size int64) {
		if size <= last || size > int64(len(data)) {
			t.Errorf("kept(%d) after kept(%d)", size, last)
		}
		last = size
		p := make([]byte, 1)
		if n, err := f.uploads.ReadAt(t.Context(), id, p, size-1); n != 1 || p[0] != data[size-1] {
			t.Errorf("ReadAt(%d) when %d bytes were kept = %d, %v, %x", size-1, size, n, err, p)
		}
	})
	if err != nil || n != 16*mib || last != 17*mib {
		t.Errorf("Append = %d, %v and kept(%d) last", n, err, last)
	}
	f.commit(id, data)
}

func testReadAt(t *testing.T, f *fixture) {
	data := Bytes(9*mib, 11)
	id := f.begin(data[:8*mib])
	f.append(id, 8*mib, data[8*mib:])
	for _, test := range []struct{ off, n, want int }{
		{0, 10, 10}, {1, 0, 0}, {5 * mib, 4096, 4096}, {8*mib - 5, 10, 10}, {9*mib - 3, 3, 3}, {9*mib - 3, 10, 3}, {9 * mib, 1, 0}, {10 * mib, 1, 0},
	} {
		p := make([]byte, test.n)
		n, err := readFullAt(t.Context(), f.uploads, id, p, int64(test.off))
		if n != test.want || !bytes.Equal(p[:n], data[min(test.off, len(data)):min(test.off, len(data))+n]) {
			t.Errorf("ReadAt(%d bytes at %d) = %d, or other bytes; want %d", test.n, test.off, n, test.want)
		}
		if short := test.want < test.n; short != errors.Is(err, io.EOF) || (!short && err != nil) {
			t.Errorf("ReadAt(%d bytes at %d) says %v", test.n, test.off, err)
		}
	}
	if _, err := f.uploads.ReadAt(t.Context(), id, make([]byte, 1), -1); err == nil {
		t.Error("ReadAt before the start is no error")
	}
}

func testReadWhileAppending(t *testing.T, f *fixture) {
	data := Bytes(18*mib+5, 13)
	id := f.begin(nil)
	pr, pw := io.Pipe()
	sizes := make(chan int64, len(data))
	appended := make(chan error, 1)
	go func() {
		defer close(sizes)
		_, err := f.uploads.Append(t.Context(), id, 0, pr, func(size int64) { sizes <- size })
		appended <- err
	}()
	go func() {
		for at := 0; at < len(data); at += mib {
			_, _ = pw.Write(data[at:min(at+mib, len(data))]) // Append tells
		}
		_ = pw.Close() // never fails
	}()
	readers := make(chan error, 3)
	seen := int64(0)
	for size := range sizes {
		for range cap(readers) {
			go func() {
				got := make([]byte, size-seen)
				_, err := readFullAt(t.Context(), f.uploads, id, got, seen)
				if err == nil && !bytes.Equal(got, data[seen:size]) {
					err = errors.New("bytes that were never written")
				}
				readers <- err
			}()
		}
		for range cap(readers) {
			if err := <-readers; err != nil {
				t.Fatalf("reading kept bytes %d to %d: %v", seen, size, err)
			}
		}
		seen = size
	}
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
	f.expectUpload(id, data)
	f.commit(id, data)
}

func testCommitCut(t *testing.T, f *fixture) {
	data := Bytes(19*mib, 17)
	for _, size := range []int{0, 1, 4 * mib, 5 * mib, 8 * mib, 8*mib + 1, 13*mib + 1, 16 * mib, 16*mib + 1, 19*mib - 1} {
		f.commit(f.begin(data), data[:size])
	}
	small := f.begin([]byte("trailing bytes go"))
	f.commit(small, []byte("trailing"))
}

func testCommitTooMuch(t *testing.T, f *fixture) {
	id := f.begin([]byte("short"))
	for _, size := range []int64{-1, 6, 1 << 40} {
		if err := f.uploads.Commit(t.Context(), id, size, oci.FromBytes([]byte("longer"))); !errors.Is(err, blob.ErrOffset) {
			t.Errorf("Commit of %d bytes of 5 says %v, want ErrOffset", size, err)
		}
	}
	if err := f.uploads.Commit(t.Context(), id, 5, oci.Digest{}); err == nil {
		t.Error("Commit without a digest is no error")
	}
	f.expectNoBlob(oci.FromBytes([]byte("longer")))
	f.expectUpload(id, []byte("short"))
	f.commit(id, []byte("short"))
}

func testCommitExisting(t *testing.T, f *fixture) {
	data := Bytes(6*mib, 19)
	first, second := f.begin(data), f.begin(data)
	f.commit(first, data)
	f.commit(second, data)
	put := []byte("put before")
	if err := f.store.Put(t.Context(), oci.FromBytes(put), put); err != nil {
		t.Fatal(err)
	}
	f.commit(f.begin(put), put)
	f.same("number of blobs", len(f.walkBlobs()), 2)
}

func testCommitConcurrently(t *testing.T, f *fixture) {
	data := Bytes(6*mib, 23)
	ids := make([]blob.UploadID, 4)
	for i := range ids {
		ids[i] = f.begin(data)
	}
	errs := make(chan error)
	for _, id := range ids {
		go func() { errs <- f.uploads.Commit(t.Context(), id, int64(len(data)), oci.FromBytes(data)) }()
	}
	for range ids {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, id := range ids {
		f.expectNoUpload(id)
	}
	f.expectBlob(oci.FromBytes(data), data)
	f.same("number of blobs", len(f.walkBlobs()), 1)
}

func testReopen(t *testing.T, f *fixture) {
	data := Bytes(20*mib, 29)
	id := f.begin(data[:9*mib])
	empty := f.begin(nil)
	before := *f

	f.store, f.uploads = f.open(t)
	f.expectUpload(id, data[:9*mib])
	f.expectUpload(empty, nil)
	f.append(id, 9*mib, data[9*mib:12*mib])

	// The one that was there before sees what happened, and goes on.
	before.expectUpload(id, data[:12*mib])
	if _, err := before.uploads.Append(t.Context(), id, 9*mib, plain([]byte("x")), nil); !errors.Is(err, blob.ErrOffset) {
		t.Errorf("Append at the end of an hour ago says %v, want ErrOffset", err)
	}
	before.append(id, 12*mib, data[12*mib:])

	f.store, f.uploads = f.open(t)
	d := f.commit(id, data)
	before.expectBlob(d, data)
	before.expectNoUpload(id)
	f.commit(empty, nil)
}

func testCancel(t *testing.T, f *fixture) {
	id, other := f.begin(Bytes(9*mib, 31)), f.begin([]byte("stays"))
	for range 2 { // an unknown one is no error
		if err := f.uploads.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		f.expectNoUpload(id)
	}
	f.expectUpload(other, []byte("stays"))
	f.same("uploads", f.walkUploads(), map[blob.UploadID]int64{other: 5})
	// The name is free again, and nothing of before is left.
	if err := f.uploads.Begin(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	f.expectUpload(id, nil)
	f.append(id, 0, []byte("new"))
	f.commit(id, []byte("new"))
}

func (f *fixture) walkUploads() map[blob.UploadID]int64 {
	f.Helper()
	found := map[blob.UploadID]int64{}
	err := f.uploads.Walk(f.Context(), func(id blob.UploadID, size int64, _ time.Time) error {
		if _, twice := found[id]; twice {
			f.Errorf("Walk names %s twice", id)
		}
		found[id] = size
		return nil
	})
	if err != nil {
		f.Error(err)
	}
	return found
}

func testWalkUploads(t *testing.T, f *fixture) {
	f.same("uploads of an empty store", f.walkUploads(), map[blob.UploadID]int64{})
	want := map[blob.UploadID]int64{
		f.begin(nil): 0, f.begin([]byte("abc")): 3, f.begin(Bytes(9*mib, 1)): 9 * mib, f.begin([]byte("d")): 1,
	}
	if err := f.store.Put(t.Context(), oci.FromBytes(nil), nil); err != nil {
		t.Fatal(err)
	}
	f.same("uploads", f.walkUploads(), want)
	stop, calls := errors.New("stop"), 0
	err := f.uploads.Walk(t.Context(), func(blob.UploadID, int64, time.Time) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("Walk whose function fails says %v after %d calls", err, calls)
	}
	err = f.uploads.Walk(t.Context(), func(id blob.UploadID, _ int64, _ time.Time) error { return f.uploads.Cancel(t.Context(), id) })
	if err != nil {
		t.Errorf("Walk that cancels: %v", err)
	}
	f.same("uploads after all were cancelled", f.walkUploads(), map[blob.UploadID]int64{})
}

func testUnknownUploads(t *testing.T, f *fixture) {
	f.expectNoUpload(ID(1000))
	for _, id := range []blob.UploadID{
		"", ".", "..", "../../../../../etc/passwd", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcde",
		"0123456789abcdef0123456789abcdef0", "0123456789abcdef/123456789abcdef", "0123456789abcdef\x00123456789abcdef",
	} {
		if err := f.uploads.Begin(t.Context(), id); err == nil {
			t.Errorf("Begin(%s) is no error", id)
		}
		f.expectNoUpload(id)
		if err := f.uploads.Cancel(t.Context(), id); err != nil {
			t.Errorf("Cancel(%s): %v", id, err)
		}
	}
	f.same("uploads", f.walkUploads(), map[blob.UploadID]int64{})
}

func testContextEnded(t *testing.T, f *fixture) {
	data := []byte("data")
	d := oci.FromBytes(data)
	id := f.begin(data)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for method, call := range map[string]func() error{
		"Store.Open":      func() error { _, err := f.store.Open(ended, d); return err },
		"Store.Stat":      func() error { _, err := f.store.Stat(ended, d); return err },
		"Store.Put":       func() error { return f.store.Put(ended, d, data) },
		"Store.Delete":    func() error { return f.store.Delete(ended, d) },
		"Uploads.Begin":   func() error { return f.uploads.Begin(ended, ID(999)) },
		"Uploads.Append":  func() error { _, err := f.uploads.Append(ended, id, 4, plain(data), nil); return err },
		"Uploads.Size":    func() error { _, err := f.uploads.Size(ended, id); return err },
		"Uploads.ReadAt":  func() error { _, err := f.uploads.ReadAt(ended, id, make([]byte, 1), 0); return err },
		"Uploads.Commit":  func() error { return f.uploads.Commit(ended, id, 4, d) },
		"Uploads.Cancel":  func() error { return f.uploads.Cancel(ended, id) },
		"Uploads.Walk":    func() error { return f.uploads.Walk(ended, func(blob.UploadID, int64, time.Time) error { return nil }) },
		"Uploads.Size, 2": func() error { _, err := f.uploads.Size(ended, ID(998)); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context says %v", method, err)
		}
	}
	f.expectNoBlob(d)
	f.expectUpload(id, data)
	f.commit(id, data)
	if err := f.store.Walk(ended, func(oci.Digest, int64) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Store.Walk with an ended context says %v", err)
	}
}

func testContextEndsMidway(t *testing.T, f *fixture) {
	data := Bytes(18*mib, 37)
	id := f.begin(nil)
	ctx, cancel := context.WithCancel(t.Context())
	read, rest := 0, bytes.NewReader(data)
	n, err := f.uploads.Append(ctx, id, 0, readerFunc(func(p []byte) (int, error) {
		if read > 17*mib {
			cancel()
		}
		n, err := rest.Read(p[:min(len(p), 100_000)])
		read += n
		return n, err
	}), nil)
	if !errors.Is(err, context.Canceled) || n == 0 {
		t.Fatalf("Append whose context ends midway = %d, %v", n, err)
	}
	f.expectUpload(id, data[:n])
	f.append(id, n, data[n:])
	f.commit(id, data)
}
