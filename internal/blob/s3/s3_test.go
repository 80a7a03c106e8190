package s3_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/blobtest"
	"github.com/bonded-dev/bonded/internal/blob/s3"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/testparts"
)

const mib = 1 << 20

// config returns what leads to a place of the test's own on a real server,
// and empties it in the end.
func config(t testing.TB) s3.Config {
	t.Helper()
	part := testparts.S3(t)
	cfg := s3.Config{
		Endpoint: part.Endpoint, Region: part.Region, Bucket: part.Bucket, Prefix: part.Prefix,
		AccessKey: part.AccessKey, SecretKey: part.SecretKey,
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := empty(ctx, cfg); err != nil {
			t.Error(err)
		}
	})
	return cfg
}

func empty(ctx context.Context, cfg s3.Config) error {
	s, err := s3.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if err := s.Walk(ctx, func(d oci.Digest, _ int64) error { return s.Delete(ctx, d) }); err != nil {
		return err
	}
	u := s.Uploads()
	return u.Walk(ctx, func(id blob.UploadID, _ int64, _ time.Time) error { return u.Cancel(ctx, id) })
}

func open(t testing.TB, cfg s3.Config) *s3.Store {
	t.Helper()
	s, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	testparts.S3(t) // skips all at once
	blobtest.Run(t, func(t testing.TB) blobtest.Open {
		cfg := config(t)
		return func(t testing.TB) (blob.Store, blob.Uploads) {
			s := open(t, cfg)
			return s, s.Uploads()
		}
	})
}

func TestOpenFails(t *testing.T) {
	good := config(t)
	for name, test := range map[string]struct {
		change func(*s3.Config)
		want   string
	}{
		"no bucket":    {func(c *s3.Config) { c.Bucket = "nonesuch" }, "no such bucket"},
		"wrong secret": {func(c *s3.Config) { c.SecretKey = "wrong" }, "opening bucket " + good.Bucket},
		"no server":    {func(c *s3.Config) { c.Endpoint, c.Retries = "http://127.0.0.1:1", 1 }, "refused"},
	} {
		cfg := good
		test.change(&cfg)
		_, err := s3.Open(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), cfg.SecretKey) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestPages has more of everything than a listing gives at a time.
func TestPages(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	s.SetPage(2)
	u := s.Uploads()
	blobs, uploads := map[oci.Digest]int64{}, map[blob.UploadID]int64{}
	for n := range int64(5) {
		data := blobtest.Bytes(int(n), uint64(n))
		if err := s.Put(t.Context(), oci.FromBytes(data), data); err != nil {
			t.Fatal(err)
		}
		blobs[oci.FromBytes(data)] = n
		id := blobtest.ID(int(n))
		if err := u.Begin(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		uploads[id] = n
		for at := range n {
			if _, err := u.Append(t.Context(), id, at, bytes.NewReader(data[at:at+1]), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	large := blobtest.Bytes(22*mib, 22)
	id := blobtest.ID(22)
	if err := u.Begin(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Append(t.Context(), id, 0, bytes.NewReader(large), nil); err != nil {
		t.Fatal(err)
	}

	s = open(t, cfg) // which has to list what the first one knew
	s.SetPage(2)
	u = s.Uploads()
	if err := u.Commit(t.Context(), id, 22*mib, oci.FromBytes(large)); err != nil {
		t.Fatal(err)
	}
	blobs[oci.FromBytes(large)] = 22 * mib
	gotBlobs := map[oci.Digest]int64{}
	if err := s.Walk(t.Context(), func(d oci.Digest, n int64) error { gotBlobs[d] = n; return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(blobs, gotBlobs); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
	gotUploads := map[blob.UploadID]int64{}
	err := u.Walk(t.Context(), func(id blob.UploadID, n int64, written time.Time) error {
		if size, err := u.Size(t.Context(), id); err != nil || size != n || time.Since(written) > time.Hour {
			t.Errorf("upload of %d bytes, written %v, has Size %d, %v", n, written, size, err)
		}
		gotUploads[id] = n
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(uploads, gotUploads); diff != "" {
		t.Errorf("uploads (-want +got):\n%s", diff)
	}
	if b, err := readBlob(t.Context(), s, oci.FromBytes(large)); err != nil || !bytes.Equal(b, large) {
		t.Errorf("the joined blob has %d bytes, %v", len(b), err)
	}
}

func readBlob(ctx context.Context, s blob.Store, d oci.Digest) ([]byte, error) {
	c, err := s.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return io.ReadAll(c)
}

// BenchmarkAppendCommit takes 64 MiB in, in the processor time of this process.
func BenchmarkAppendCommit(b *testing.B) {
	const size = 64 * mib
	s := open(b, config(b))
	u := s.Uploads()
	data := blobtest.Bytes(size, 1)
	b.SetBytes(size)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := blobtest.ID(i)
		if err := u.Begin(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		if _, err := u.Append(b.Context(), id, 0, bytes.NewReader(data), nil); err != nil {
			b.Fatal(err)
		}
		d := oci.FromBytes([]byte(id)) // hashing the data is the caller's expense
		if err := u.Commit(b.Context(), id, size, d); err != nil {
			b.Fatal(err)
		}
	}
}
