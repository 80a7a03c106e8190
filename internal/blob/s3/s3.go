// Package s3 is a content store in a bucket of an S3-compatible server.
//
//	<prefix>blobs/<algorithm>/<first two of hex>/<hex>   what was committed
//	<prefix>uploads/<id>/<offset>                        a part of what is arriving
//	<prefix>uploads/<id>/open                            says that the upload exists
//
// An upload is a row of part objects of at most 8 MiB, each under the offset
// of its first byte in 16 hex digits. Parts are made once and never changed,
// which the server is asked to enforce (If-None-Match), so that a request that
// was given up on and arrives late replaces nothing. They can be read as soon
// as they are there. Commit has the server join them, under the condition that
// they are the ones this process knows (ETag), so that content passes through
// this process once, but for parts that are too small to be joined.
//
// The server must be consistent the way S3 is since 2020: what was written is
// seen by the next read and the next listing.
package s3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Config says which bucket to use, and how.
type Config struct {
	// Endpoint is the server's URL, such as "https://s3.eu-central-1.amazonaws.com"
	// or "http://10.0.0.7:9000". Its scheme decides about TLS; it has no path.
	Endpoint string
	// Bucket exists.
	Bucket string
	// Prefix begins all names in the bucket. Optional: "" uses all of it.
	// A slash is added if it ends without one.
	Prefix string
	// Region is what requests are signed for. Optional: the server is asked.
	Region string
	// AccessKey and SecretKey are the credentials.
	AccessKey, SecretKey string
	// PathStyle puts the bucket into the path of URLs. Optional: without it,
	// that is done for servers that are not known to want otherwise.
	PathStyle bool
	// Transport makes the requests. Optional: one with TLS 1.2 and later.
	Transport http.RoundTripper
	// Retries is how often a request is tried. Optional: 0 means 5 times.
	Retries int
	// Log is told of garbage that could not be removed. Optional.
	Log *slog.Logger
}

// Store implements blob.Store in a bucket. Its Uploads method gives the
// blob.Uploads that commit into it. Any number of processes may use a bucket.
type Store struct {
	core   *minio.Core
	bucket string
	prefix string
	log    *slog.Logger
	page   int // how much one listing gives; tests make it small

	segments sync.Pool // of *segment
	memory   memory
	blocks   blocks
	// unconditional is set once the server said that it has no conditional
	// writes; ETags at Commit are the guard that is left then.
	unconditional atomic.Bool
}

var (
	_ blob.Store   = (*Store)(nil)
	_ blob.Sweeper = (*Store)(nil)
)

// Open connects to the bucket and checks that it is there.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := newStore(cfg)
	if err != nil {
		return nil, fmt.Errorf("opening bucket %s at %s: %w", cfg.Bucket, cfg.Endpoint, err)
	}
	ok, err := s.core.BucketExists(ctx, s.bucket)
	if err != nil {
		return nil, fmt.Errorf("opening bucket %s at %s: %w", cfg.Bucket, cfg.Endpoint, err)
	}
	if !ok {
		return nil, fmt.Errorf("opening bucket %s at %s: there is no such bucket; create it or correct the name", cfg.Bucket, cfg.Endpoint)
	}
	return s, nil
}

func newStore(cfg Config) (*Store, error) {
	endpoint, err := url.Parse(cfg.Endpoint)
	switch {
	case err != nil:
		return nil, err
	case endpoint.Scheme != "http" && endpoint.Scheme != "https":
		return nil, errors.New("the endpoint must begin with https:// or http://")
	case strings.Trim(endpoint.Path, "/") != "" || endpoint.RawQuery != "" || endpoint.User != nil:
		return nil, errors.New("the endpoint must be a host and a port only")
	}
	lookup := minio.BucketLookupAuto
	if cfg.PathStyle {
		lookup = minio.BucketLookupPath
	}
	retries := cfg.Retries
	if retries == 0 {
		retries = 5
	}
	send := cfg.Transport
	if send == nil {
		if send, err = minio.DefaultTransport(endpoint.Scheme == "https"); err != nil {
			return nil, err
		}
	}
	core, err := minio.NewCore(endpoint.Host, &minio.Options{
		Creds:        credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, ""),
		Secure:       endpoint.Scheme == "https",
		Transport:    detaching{send},
		Region:       cfg.Region,
		BucketLookup: lookup,
		MaxRetries:   retries,
	})
	if err != nil {
		return nil, err
	}
	s := &Store{core: core, bucket: cfg.Bucket, prefix: cfg.Prefix, log: cfg.Log, page: 1000}
	if s.prefix != "" && !strings.HasSuffix(s.prefix, "/") {
		s.prefix += "/"
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.segments.New = func() any { return new(segment) }
	s.memory.uploads = map[blob.UploadID]*record{}
	return s, nil
}

// key returns the object of a blob. d is not zero.
func (s *Store) key(d oci.Digest) string {
	return s.prefix + "blobs/" + string(d.Algorithm()) + "/" + d.Hex()[:2] + "/" + d.Hex()
}

// Open implements blob.Store. Reading in order makes one request, and another
// after each Seek that moves.
func (s *Store) Open(ctx context.Context, d oci.Digest) (blob.Content, error) {
	size, err := s.size(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("opening blob %s: %w", d, err)
	}
	return &content{stream{ctx: ctx, s: s, key: s.key(d), end: size}, d}, nil
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, d oci.Digest) (int64, error) {
	size, err := s.size(ctx, d)
	if err != nil {
		return 0, fmt.Errorf("looking at blob %s: %w", d, err)
	}
	return size, nil
}

func (s *Store) size(ctx context.Context, d oci.Digest) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if d.IsZero() {
		return 0, blob.ErrNotFound
	}
	info, err := s.core.StatObject(ctx, s.bucket, s.key(d), minio.StatObjectOptions{})
	if err != nil {
		return 0, missing(err, blob.ErrNotFound)
	}
	return info.Size, nil
}

// there reports whether d is stored with that size. Another size is damage,
// and what is at hand is better.
func (s *Store) there(ctx context.Context, d oci.Digest, size int64) (bool, error) {
	found, err := s.size(ctx, d)
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	return err == nil && found == size, err
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, d oci.Digest, b []byte) error {
	if err := s.put(ctx, d, b); err != nil {
		return fmt.Errorf("putting blob %s: %w", d, full(err))
	}
	return nil
}

func (s *Store) put(ctx context.Context, d oci.Digest, b []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := blob.Verify(d, b); err != nil {
		return err
	}
	if there, err := s.there(ctx, d, int64(len(b))); there || err != nil {
		return err
	}
	_, err := s.write(ctx, s.key(d), bytesBody(b), anyway)
	return err
}

// Delete implements blob.Store. Open contents are no longer readable.
func (s *Store) Delete(ctx context.Context, d oci.Digest) error {
	err := ctx.Err()
	if err == nil && !d.IsZero() {
		err = s.core.RemoveObject(ctx, s.bucket, s.key(d), minio.RemoveObjectOptions{})
	}
	if err != nil && !errors.Is(missing(err, blob.ErrNotFound), blob.ErrNotFound) {
		return fmt.Errorf("deleting blob %s: %w", d, err)
	}
	return nil
}

// Walk implements blob.Store. Names that are no digests are passed over.
func (s *Store) Walk(ctx context.Context, fn func(oci.Digest, int64) error) error {
	err := s.list(ctx, "blobs/", "", func(name string, o minio.ObjectInfo) error {
		dir, hexed, _ := cutLast(name)
		alg, two, _ := cutLast(dir)
		if d, ok := blob.ParsePath(alg, two, hexed); ok {
			return fn(d, o.Size)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("walking blobs: %w", err)
	}
	return nil
}

// cutLast is strings.Cut around the last slash.
func cutLast(name string) (before, after string, found bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// list calls fn for the objects below a folder, in order, from behind the name
// after. Names are those below the folder.
func (s *Store) list(ctx context.Context, folder, after string, fn func(name string, o minio.ObjectInfo) error) error {
	opts := minio.ListObjectsOptions{Prefix: s.prefix + folder, Recursive: true, MaxKeys: s.page}
	if after != "" {
		opts.StartAfter = s.prefix + folder + after
	}
	for o := range s.core.ListObjectsIter(ctx, s.bucket, opts) {
		if o.Err != nil {
			return o.Err
		}
		if err := fn(o.Key[len(s.prefix)+len(folder):], o); err != nil {
			return err
		}
	}
	// An ended context ends the listing without an error; what was listed is
	// then not all there is.
	return ctx.Err()
}

// Sweep implements blob.Sweeper: it gives up joins that crashes left, of which
// the server keeps the parts until then.
func (s *Store) Sweep(ctx context.Context, before time.Time) (int, error) {
	removed, key, id := 0, "", ""
	for {
		page, err := s.core.ListMultipartUploads(ctx, s.bucket, s.prefix+"blobs/", key, id, "", s.page)
		if err != nil {
			return removed, fmt.Errorf("sweeping unfinished joins: %w", err)
		}
		for _, m := range page.Uploads {
			if !m.Initiated.Before(before) {
				continue
			}
			err := s.core.AbortMultipartUpload(ctx, s.bucket, m.Key, m.UploadID)
			if err != nil && code(err) != minio.NoSuchUpload {
				return removed, fmt.Errorf("sweeping unfinished join of %s: %w", m.Key, err)
			}
			removed++
		}
		if !page.IsTruncated {
			return removed, nil
		}
		key, id = page.NextKeyMarker, page.NextUploadIDMarker
	}
}
