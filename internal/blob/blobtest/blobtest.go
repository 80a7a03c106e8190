// Package blobtest is the suite that admits an implementation of blob.Store
// and blob.Uploads.
//
// A new store passes Run and then shows in tests of its own what Run cannot
// ask for in general: what it leaves when it is killed, loses power, or its
// medium fails.
package blobtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Open opens a storage. Each call is what a new process would do: nothing may
// pass from one result to the next but through the storage itself.
type Open func(t testing.TB) (blob.Store, blob.Uploads)

// Run tests the implementation. Each call of create makes an empty storage.
func Run(t *testing.T, create func(t testing.TB) Open) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f *fixture)
	}{
		{"PutAndOpen", testPutAndOpen},
		{"PutVerifies", testPutVerifies},
		{"PutConcurrently", testPutConcurrently},
		{"ContentSeeks", testContentSeeks},
		{"NotFound", testNotFound},
		{"Delete", testDelete},
		{"WalkBlobs", testWalkBlobs},
		{"Begin", testBegin},
		{"AppendAndCommit", testAppendAndCommit},
		{"AppendInPieces", testAppendInPieces},
		{"AppendOffsets", testAppendOffsets},
		{"AppendReaderFails", testAppendReaderFails},
		{"AppendReports", testAppendReports},
		{"ReadAt", testReadAt},
		{"ReadWhileAppending", testReadWhileAppending},
		{"CommitCut", testCommitCut},
		{"CommitTooMuch", testCommitTooMuch},
		{"CommitExisting", testCommitExisting},
		{"CommitConcurrently", testCommitConcurrently},
		{"Reopen", testReopen},
		{"Cancel", testCancel},
		{"WalkUploads", testWalkUploads},
		{"UnknownUploads", testUnknownUploads},
		{"ContextEnded", testContextEnded},
		{"ContextEndsMidway", testContextEndsMidway},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &fixture{T: t, open: create(t)}
			f.store, f.uploads = f.open(t)
			test.run(t, f)
		})
	}
}

// fixture is one storage, opened, with the steps that tests take.
type fixture struct {
	*testing.T
	open    Open
	store   blob.Store
	uploads blob.Uploads
	ids     int
}

// Bytes returns n bytes that no compression shrinks, the same for each seed.
func Bytes(n int, seed uint64) []byte {
	b := make([]byte, n)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// ID returns the n-th upload name of a test.
func ID(n int) blob.UploadID {
	return blob.UploadID(oci.FromBytes(fmt.Append(nil, "upload ", n)).Hex()[:32])
}

// begin makes an upload that holds data.
func (f *fixture) begin(data []byte) blob.UploadID {
	f.Helper()
	f.ids++
	id := ID(f.ids)
	if err := f.uploads.Begin(f.Context(), id); err != nil {
		f.Fatal(err)
	}
	if len(data) > 0 {
		f.append(id, 0, data)
	}
	return id
}

// append adds data at offset and expects all of it to be kept.
func (f *fixture) append(id blob.UploadID, offset int64, data []byte) {
	f.Helper()
	n, err := f.uploads.Append(f.Context(), id, offset, plain(data), nil)
	if err != nil || n != int64(len(data)) {
		f.Fatalf("Append(%s, %d, %d bytes) = %d, %v", id, offset, len(data), n, err)
	}
}

// commit turns the upload into the blob of data and expects it to be gone.
func (f *fixture) commit(id blob.UploadID, data []byte) oci.Digest {
	f.Helper()
	d := oci.FromBytes(data)
	if err := f.uploads.Commit(f.Context(), id, int64(len(data)), d); err != nil {
		f.Fatal(err)
	}
	f.expectNoUpload(id)
	f.expectBlob(d, data)
	return d
}

// expectBlob checks that d is there and holds data.
func (f *fixture) expectBlob(d oci.Digest, data []byte) {
	f.Helper()
	if size, err := f.store.Stat(f.Context(), d); err != nil || size != int64(len(data)) {
		f.Errorf("Stat(%s) = %d, %v, want %d", d.Short(), size, err, len(data))
	}
	c, err := f.store.Open(f.Context(), d)
	if err != nil {
		f.Error(err)
		return
	}
	defer c.Close()
	if c.Size() != int64(len(data)) {
		f.Errorf("Size of %s is %d, want %d", d.Short(), c.Size(), len(data))
	}
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, data) {
		f.Errorf("reading %s: %d bytes, %v, want the %d stored", d.Short(), len(got), err, len(data))
	}
}

// expectNoBlob checks that d is nowhere.
func (f *fixture) expectNoBlob(d oci.Digest) {
	f.Helper()
	if _, err := f.store.Stat(f.Context(), d); !errors.Is(err, blob.ErrNotFound) {
		f.Errorf("Stat(%s) says %v, want ErrNotFound", d.Short(), err)
	}
	if c, err := f.store.Open(f.Context(), d); !errors.Is(err, blob.ErrNotFound) {
		f.Errorf("Open(%s) says %v, want ErrNotFound", d.Short(), err)
		if err == nil {
			c.Close()
		}
	}
	if _, ok := f.walkBlobs()[d]; ok {
		f.Errorf("Walk names %s", d.Short())
	}
}

// expectUpload checks that the upload holds data, by Size and by ReadAt.
func (f *fixture) expectUpload(id blob.UploadID, data []byte) {
	f.Helper()
	size, err := f.uploads.Size(f.Context(), id)
	if err != nil || size != int64(len(data)) {
		f.Errorf("Size(%s) = %d, %v, want %d", id, size, err, len(data))
		return
	}
	got := make([]byte, len(data)+1)
	n, err := readFullAt(f.Context(), f.uploads, id, got, 0)
	if !errors.Is(err, io.EOF) || !bytes.Equal(got[:n], data) {
		f.Errorf("reading upload %s: %d bytes, %v, want the %d kept and EOF", id, n, err, len(data))
	}
}

// expectNoUpload checks that no method knows the upload.
func (f *fixture) expectNoUpload(id blob.UploadID) {
	f.Helper()
	ctx := f.Context()
	for method, call := range map[string]func() error{
		"Size":   func() error { _, err := f.uploads.Size(ctx, id); return err },
		"ReadAt": func() error { _, err := f.uploads.ReadAt(ctx, id, make([]byte, 1), 0); return err },
		"Append": func() error { _, err := f.uploads.Append(ctx, id, 0, plain([]byte("x")), nil); return err },
		"Commit": func() error { return f.uploads.Commit(ctx, id, 0, oci.FromBytes(nil)) },
	} {
		if err := call(); !errors.Is(err, blob.ErrUploadUnknown) {
			f.Errorf("%s of upload %s says %v, want ErrUploadUnknown", method, id, err)
		}
	}
}

func (f *fixture) walkBlobs() map[oci.Digest]int64 {
	f.Helper()
	found := map[oci.Digest]int64{}
	err := f.store.Walk(f.Context(), func(d oci.Digest, size int64) error {
		if _, twice := found[d]; twice {
			return fmt.Errorf("%s comes twice", d)
		}
		found[d] = size
		return nil
	})
	if err != nil {
		f.Error(err)
	}
	return found
}

// readFullAt calls ReadAt until p is full or an error comes.
func readFullAt(ctx context.Context, u blob.Uploads, id blob.UploadID, p []byte, off int64) (int, error) {
	for n := 0; ; {
		m, err := u.ReadAt(ctx, id, p[n:], off+int64(n))
		n += m
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

// plain is a reader of data without WriterTo, Seeker or any other help.
func plain(data []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(data)} }

// failing is a reader of data that ends with err.
func failing(data []byte, err error) io.Reader {
	return io.MultiReader(plain(data), readerFunc(func([]byte) (int, error) { return 0, err }))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// same reports a difference between what was got and wanted.
func (f *fixture) same(what string, got, want any) {
	f.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		f.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
