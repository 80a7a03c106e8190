package acquire

import (
	"bytes"
	"context"
	"fmt"
	"hash"
	"io"

	"github.com/bonded-dev/bonded/internal/oci"
)

// verified reads content and fails, instead of ending, when it is not what its
// descriptor says.
type verified struct {
	ctx  context.Context
	r    io.ReadCloser
	want oci.Descriptor
	sum  hash.Hash
	size int64 // read so far
	err  error // sticks
}

// verify returns a reader of the content that want describes. Closing it
// closes r.
func verify(ctx context.Context, r io.ReadCloser, want oci.Descriptor) io.ReadCloser {
	return &verified{ctx: ctx, r: r, want: want, sum: want.Digest.Algorithm().New()}
}

func (v *verified) Read(p []byte) (int, error) {
	if v.err == nil {
		v.err = context.Cause(v.ctx)
	}
	if v.err != nil || len(p) == 0 {
		return 0, v.err
	}
	// One byte more than there may be tells content that is too long.
	if left := v.want.Size - v.size; int64(len(p)) > left {
		p = p[:left+1]
	}
	n, err := v.r.Read(p)
	v.size += int64(n)
	v.sum.Write(p[:n])
	switch {
	case v.size > v.want.Size:
		v.err = fmt.Errorf("%s: %w: it goes on after the %d bytes that it should have", v.want.Digest, ErrCorrupt, v.want.Size)
		return 0, v.err
	case err == io.EOF:
		v.err = v.end()
	case err != nil:
		v.err = fmt.Errorf("reading %s at byte %d: %w", v.want.Digest, v.size, err)
	}
	return n, v.err
}

// end is io.EOF when the content was the right one.
func (v *verified) end() error {
	if v.size != v.want.Size {
		return fmt.Errorf("%s: %w: it has %d bytes and should have %d", v.want.Digest, ErrCorrupt, v.size, v.want.Size)
	}
	if got := v.want.Digest.Algorithm().FromHash(v.sum); got != v.want.Digest {
		return fmt.Errorf("%s: %w: its bytes are %s", v.want.Digest, ErrCorrupt, got)
	}
	return io.EOF
}

func (v *verified) Close() error { return v.r.Close() }

// readManifest reads and parses a manifest, verified.
func readManifest(ctx context.Context, r io.ReadCloser, d oci.Descriptor) (*oci.Manifest, error) {
	defer r.Close()
	if d.Size > oci.MaxManifest {
		return nil, fmt.Errorf("%s: %w: %d bytes, at most %d", d.Digest, oci.ErrManifestInvalid, d.Size, oci.MaxManifest)
	}
	raw, err := io.ReadAll(verify(ctx, r, d))
	if err != nil {
		return nil, err
	}
	return parseManifest(raw, d)
}

func parseManifest(raw []byte, d oci.Descriptor) (*oci.Manifest, error) {
	m, err := oci.ParseManifest(raw, d.MediaType, d.Digest.Algorithm())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Digest, err)
	}
	return m, nil
}

// inMemory is content that is held already.
func inMemory(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }
