package blobtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

// algorithms are those that a store must take.
var algorithms = []oci.Algorithm{oci.SHA256, oci.SHA512}

func testPutAndOpen(t *testing.T, f *fixture) {
	for _, alg := range algorithms {
		for _, n := range []int{0, 1, 4096, 300_001} {
			data := Bytes(n, uint64(n))
			d := alg.DigestOf(data)
			for range 2 { // storing what is there already is no error
				if err := f.store.Put(t.Context(), d, data); err != nil {
					t.Fatal(err)
				}
			}
			f.expectBlob(d, data)
		}
	}
}

func testPutVerifies(t *testing.T, f *fixture) {
	d := oci.FromBytes([]byte("what is asked for"))
	for _, lie := range []oci.Digest{d, {}} {
		if err := f.store.Put(t.Context(), lie, []byte("what is given")); !errors.Is(err, blob.ErrDigest) {
			t.Errorf("Put under digest %q says %v, want ErrDigest", lie, err)
		}
	}
	f.expectNoBlob(d)
	f.same("blobs", f.walkBlobs(), map[oci.Digest]int64{})
}

func testPutConcurrently(t *testing.T, f *fixture) {
	data := Bytes(50_000, 7)
	d := oci.FromBytes(data)
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = f.store.Put(t.Context(), d, data) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	f.expectBlob(d, data)
	f.same("blobs", f.walkBlobs(), map[oci.Digest]int64{d: 50_000})
}

func testContentSeeks(t *testing.T, f *fixture) {
	data := Bytes(100_000, 3)
	d := oci.FromBytes(data)
	if err := f.store.Put(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	c, err := f.store.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	read := func(n int) []byte {
		p := make([]byte, n)
		n, err := io.ReadFull(c, p)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		return p[:n]
	}
	for _, step := range []struct {
		offset int64
		whence int
		at     int64
	}{
		{0, io.SeekEnd, 100_000}, {0, io.SeekStart, 0}, {500, io.SeekStart, 500}, {500, io.SeekCurrent, 2000},
		{-1000, io.SeekEnd, 99_000}, {-10, io.SeekEnd, 99_990}, {200_000, io.SeekStart, 200_000}, {1, io.SeekStart, 1},
	} {
		at, err := c.Seek(step.offset, step.whence)
		if err != nil || at != step.at {
			t.Fatalf("Seek(%d, %d) = %d, %v, want %d", step.offset, step.whence, at, err, step.at)
		}
		want := data[min(at, 100_000):min(at+1000, 100_000)]
		if got := read(1000); !bytes.Equal(got, want) {
			t.Errorf("after Seek(%d, %d): %d bytes that are not the %d stored there", step.offset, step.whence, len(got), len(want))
		}
	}
	if _, err := c.Seek(-1, io.SeekStart); err == nil {
		t.Error("Seek before the start is no error")
	}
	testContentReadsAt(t, c, data)
	if file := c.File(); file != nil {
		if at, err := file.Seek(0, io.SeekEnd); err != nil || at != c.Size() {
			t.Errorf("File ends at %d, %v, want %d", at, err, c.Size())
		}
	}
}

func testContentReadsAt(t *testing.T, c blob.Content, data []byte) {
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			off := i * 20_000
			p := make([]byte, 10_000)
			if n, err := c.ReadAt(p, int64(off)); n != len(p) || err != nil || !bytes.Equal(p, data[off:off+n]) {
				t.Errorf("ReadAt(%d) = %d, %v, or other bytes", off, n, err)
			}
		})
	}
	wg.Wait()
	p := make([]byte, 20)
	for off, want := range map[int64]int{99_990: 10, 100_000: 0, 100_001: 0} {
		n, err := c.ReadAt(p, off)
		if n != want || !errors.Is(err, io.EOF) || !bytes.Equal(p[:n], data[min(int(off), len(data)):]) {
			t.Errorf("ReadAt(%d) = %d, %v, want %d, EOF", off, n, err, want)
		}
	}
}

func testNotFound(t *testing.T, f *fixture) {
	f.expectNoBlob(oci.FromBytes([]byte("never stored")))
	f.expectNoBlob(oci.SHA512.DigestOf([]byte("never stored")))
	f.expectNoBlob(oci.Digest{})
	// A neighbour in the same folder makes no difference.
	data := []byte("stored")
	if err := f.store.Put(t.Context(), oci.FromBytes(data), data); err != nil {
		t.Fatal(err)
	}
	near := oci.FromBytes(data).Hex()
	f.expectNoBlob(oci.MustDigest("sha256:" + near[:63] + string("0123456789abcdef"[(near[63]+1)%16])))
}

func testDelete(t *testing.T, f *fixture) {
	data := Bytes(1000, 1)
	d := oci.FromBytes(data)
	for range 2 {
		if err := f.store.Put(t.Context(), d, data); err != nil {
			t.Fatal(err)
		}
		f.expectBlob(d, data)
		for range 2 { // removing what is not there is no error
			if err := f.store.Delete(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			f.expectNoBlob(d)
		}
	}
	if err := f.store.Delete(t.Context(), oci.Digest{}); err != nil {
		t.Errorf("deleting no digest: %v", err)
	}
}

func testWalkBlobs(t *testing.T, f *fixture) {
	f.same("blobs of an empty store", f.walkBlobs(), map[oci.Digest]int64{})
	want := map[oci.Digest]int64{}
	for i := range 12 {
		for _, alg := range algorithms {
			data := fmt.Append(nil, "blob ", i)
			want[alg.DigestOf(data)] = int64(len(data))
			if err := f.store.Put(t.Context(), alg.DigestOf(data), data); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.begin([]byte("an upload is no blob"))
	f.same("blobs", f.walkBlobs(), want)

	stop, calls := errors.New("stop"), 0
	err := f.store.Walk(t.Context(), func(oci.Digest, int64) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("Walk whose function fails says %v after %d calls", err, calls)
	}
	// What is removed underway does not trip it.
	err = f.store.Walk(t.Context(), func(d oci.Digest, _ int64) error { return f.store.Delete(t.Context(), d) })
	if err != nil {
		t.Errorf("Walk that deletes: %v", err)
	}
	f.same("blobs after all were deleted", f.walkBlobs(), map[oci.Digest]int64{})
}
