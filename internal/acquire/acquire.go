// Package acquire brings bytes in from elsewhere: from other registries, from
// OCI layouts in folders and tars, and from what docker and podman save.
//
// A Source is an artifact where it lies. Whatever it is read from is foreign:
// names, sizes and counts are bounded, and every byte that a Source gives out
// was verified against the digest that it was asked for by, so that where it
// came from makes no difference to what is read. Nothing is unpacked; a tar is
// read in place, and only a compressed one is first decompressed to a
// temporary file.
package acquire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Errors that callers may test for.
var (
	// ErrNotFound is the cause when the target, or content that it names, is
	// not there.
	ErrNotFound = errors.New("not found")
	// ErrInvalid is the cause when the target is nothing that can be read, or
	// does not keep to its format.
	ErrInvalid = errors.New("cannot be read as an image")
	// ErrCorrupt is the cause when content is not what its descriptor says.
	ErrCorrupt = errors.New("content is not what it is named by")
	// ErrDenied is the cause when a registry wants other credentials.
	ErrDenied = errors.New("the registry does not permit it")
	// ErrUnavailable is the cause when a registry cannot be reached or does not
	// answer as one.
	ErrUnavailable = errors.New("the registry does not answer")
)

// Source is an artifact in a registry, a folder or an archive. It is safe for
// concurrent use, apart from Close.
type Source interface {
	// Name says where the artifact is, for people: what it was opened by, with
	// the name it has there.
	Name() string
	// Path is the name under which the artifact would stand in a zone:
	// "docker.io/library/debian" or "localhost_5000/x". It is a valid
	// repository name once a zone is put before it.
	Path() string
	// Root describes the artifact: a manifest or an index.
	Root() oci.Descriptor
	// Manifest returns a manifest or an index by its descriptor. Errors match
	// ErrNotFound, ErrCorrupt, oci.ErrManifestInvalid, oci.ErrSchema1.
	Manifest(ctx context.Context, d oci.Descriptor) (*oci.Manifest, error)
	// Blob returns content by its descriptor. Its Read fails with an error that
	// matches ErrCorrupt, instead of io.EOF, when the content has another size
	// or digest. Errors match ErrNotFound.
	Blob(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error)
	// Close gives up what the Source holds.
	Close() error
}

// Options are what Open works with.
type Options struct {
	// Temp is a folder for compressed archives while they are read. Optional:
	// the system's.
	Temp string
	// AuthFiles are files in docker's format with credentials for registries,
	// those that count most first. Ones that are not there are passed over.
	AuthFiles []string
	// CertDirs are folders with certificates to trust, HOST:PORT/ca.crt each,
	// as docker and podman have them.
	CertDirs []string
	// UserAgent is what registries are told. Optional.
	UserAgent string
	// Log gets what the registry's client has to say. Required.
	Log *slog.Logger
	// Limits, optional, replace the defaults.
	Limits Limits
}

// Limits bound what an archive may be. Zero fields mean the default.
type Limits struct {
	Entries  int   // of a tar: 100 000
	Unpacked int64 // bytes of a tar once decompressed: 64 GiB
	Ratio    int64 // decompressed bytes per compressed byte, checked above 1 GiB: 200
}

// ratioFrom is the size in bytes from which Limits.Ratio counts.
const ratioFrom = 1 << 30

func (l Limits) orDefaults() Limits {
	if l.Entries == 0 {
		l.Entries = 100_000
	}
	if l.Unpacked == 0 {
		l.Unpacked = 64 << 30
	}
	if l.Ratio == 0 {
		l.Ratio = 200
	}
	return l
}

// Open finds out what target is and opens it: the path of a folder with an OCI
// layout; the path of a tar, plain or in gzip or zstd, with a layout or with
// what docker and podman save; either with ":NAME" behind it where it holds
// more than one image; or a reference to a registry, which is named with its
// host. Errors match ErrNotFound, ErrInvalid, ErrCorrupt, ErrDenied,
// ErrUnavailable.
func Open(ctx context.Context, target string, o Options) (Source, error) {
	o.Limits = o.Limits.orDefaults()
	s, err := open(ctx, target, &o)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", shown(target), err)
	}
	return s, nil
}

// shown is a target in an error.
func shown(target string) string {
	if q := oci.Quote(target); q != `"`+target+`"` {
		return q
	}
	return target
}

func open(ctx context.Context, target string, o *Options) (Source, error) {
	t, err := parseTarget(target)
	if err != nil {
		return nil, err
	}
	if t.path == "" {
		return openRegistry(ctx, t.ref, o)
	}
	files, err := openFiles(ctx, t.path, o)
	if err != nil {
		return nil, err
	}
	s, err := openImages(ctx, files, t)
	if err != nil {
		return nil, errors.Join(err, files.close())
	}
	return s, nil
}

// openImages reads what files say they hold.
func openImages(ctx context.Context, f files, t target) (Source, error) {
	switch {
	case f.has(indexFile):
		return openLayout(ctx, f, t)
	case f.has(savedFile):
		return openSaved(ctx, f, t)
	}
	return nil, invalid("make one with: skopeo copy docker://IMAGE oci-archive:image.tar", "it holds neither %s nor %s, so it is no OCI layout, and nothing that docker or podman saved", indexFile, savedFile)
}
