// Package blob says how content is kept: bytes keyed by their digest, and the
// uploads they arrive in.
//
// Store and Uploads are implemented by blob/disk, blob/s3 and blob/mem; the
// suite blob/blobtest admits an implementation. Nothing here knows who may
// read what: a blob is visible to its readers only through metadata that other
// packages commit after Commit has returned.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Errors that callers may test for.
var (
	ErrNotFound      = errors.New("no such blob")
	ErrUploadUnknown = errors.New("no such upload")
	// ErrOffset is returned when bytes are appended elsewhere than at the end.
	ErrOffset = errors.New("not the end of the upload")
	// ErrNoSpace is returned when the store is full. What was stored before is intact.
	ErrNoSpace = errors.New("no space left for content")
	// ErrDigest is returned by Put for bytes that are not what they are named.
	ErrDigest = errors.New("content does not have its digest")
)

// Store keeps committed content. A blob that Open finds is complete, was
// verified when it was written, and survives power loss. Implementations are
// safe for concurrent use.
type Store interface {
	// Open returns the content for reading. Errors match ErrNotFound.
	Open(ctx context.Context, d oci.Digest) (Content, error)
	// Stat returns the size in bytes. Errors match ErrNotFound.
	Stat(ctx context.Context, d oci.Digest) (int64, error)
	// Put stores small content that the caller holds, verifying it against d.
	// On return it is durable. Storing what is there already is no error.
	// Errors match ErrDigest, ErrNoSpace.
	Put(ctx context.Context, d oci.Digest, b []byte) error
	// Delete removes the content; removing what is not there is no error. Open
	// contents of it may or may not stay readable. A power cut may bring it
	// back, whole. Who deletes sees to it that nobody stores the same digest
	// at that time: Put and Commit keep what they find.
	Delete(ctx context.Context, d oci.Digest) error
	// Walk calls fn for every blob, in any order, until fn fails; what comes
	// or goes meanwhile is seen or not.
	Walk(ctx context.Context, fn func(d oci.Digest, size int64) error) error
}

// Content is an open blob. On disk it is an *os.File underneath, so that
// http.ServeContent and io.Copy can use sendfile: ServeFile returns that file,
// or nil where there is none. The file shares its position with Read and Seek
// and is closed by Close. ReadAt is safe for concurrent use, the rest is not.
// The context given to Open bounds all reads.
type Content interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
	File() io.ReadSeeker
}

// UploadID names an upload: 32 lower-case hex characters, made by the caller
// from a cryptographic random source. To the methods of Uploads any other
// string is the name of an upload that does not exist.
type UploadID string

// String returns id, quoted and shortened if it is not Valid.
func (id UploadID) String() string {
	if id.Valid() {
		return string(id)
	}
	return oci.Quote(string(id))
}

// Valid reports whether id has the form of a name.
func (id UploadID) Valid() bool {
	if len(id) != 32 {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Uploads keeps bytes that are still arriving. One writer at a time per
// upload (the caller sees to it); any number of readers.
type Uploads interface {
	// Begin makes an empty upload. Beginning one that exists is an error.
	Begin(ctx context.Context, id UploadID) error
	// Append writes all of r at offset, which must be the upload's size, and
	// returns how many bytes it kept, also when r or the write fails midway:
	// kept bytes survive a crash of this process and are part of the upload.
	// After a power cut an upload holds them or is unknown.
	// A context that ends stops Append between two reads of r; a read that
	// blocks is for the owner of r to end.
	//
	// It may call kept now and then, from its own goroutine, with the size
	// that readers can see. Errors match ErrUploadUnknown, ErrOffset, ErrNoSpace.
	Append(ctx context.Context, id UploadID, offset int64, r io.Reader, kept func(size int64)) (int64, error)
	// Size returns how many bytes are kept. Errors match ErrUploadUnknown.
	Size(ctx context.Context, id UploadID) (int64, error)
	// ReadAt reads kept bytes; it returns io.EOF at the current end, which is
	// not the end of the upload. Errors match ErrUploadUnknown.
	ReadAt(ctx context.Context, id UploadID, p []byte, off int64) (int, error)
	// Commit turns the upload, cut to size bytes, into the blob d. The caller
	// has verified that those bytes have that digest. On return the blob is
	// durable and the upload is gone; a crash leaves at least one of them. If
	// d is there already with that size, it is kept and the upload dropped.
	// After an error Commit can be tried again, unless the bytes themselves
	// proved lost: then the upload is unknown. Errors match ErrUploadUnknown,
	// ErrOffset when fewer than size bytes are kept, ErrNoSpace.
	Commit(ctx context.Context, id UploadID, size int64, d oci.Digest) error
	// Cancel removes the upload; an unknown one is no error.
	Cancel(ctx context.Context, id UploadID) error
	// Walk calls fn for every upload with the time it was last written, until
	// fn fails. It may name remains of an upload that a crash half removed:
	// they are unknown to Size, and Cancel removes them.
	Walk(ctx context.Context, fn func(id UploadID, size int64, written time.Time) error) error
}

// Sweeper is implemented by stores in which a crash can leave what is neither
// a blob nor an upload.
type Sweeper interface {
	// Sweep removes what was last written before the given time, which must
	// be longer ago than any Put or Commit takes, and returns how many there were.
	Sweep(ctx context.Context, before time.Time) (int, error)
}

// ParsePath returns the digest that a path "algorithm/first two of hex/hex"
// names, as stores lay out their blobs.
func ParsePath(alg, two, hexed string) (oci.Digest, bool) {
	d, err := oci.ParseDigest(alg + ":" + hexed)
	return d, err == nil && d.Hex()[:2] == two
}

// Verify returns an error matching ErrDigest unless b has the digest d.
func Verify(d oci.Digest, b []byte) error {
	if d.IsZero() {
		return fmt.Errorf("%w: no digest given", ErrDigest)
	}
	if got := d.Algorithm().DigestOf(b); got != d {
		return fmt.Errorf("%w: %d bytes are %s, not %s", ErrDigest, len(b), got, d)
	}
	return nil
}
