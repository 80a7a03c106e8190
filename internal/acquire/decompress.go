package acquire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is the most history that a zstd stream may ask for, in bytes, as
// for layers.
const maxWindow = 32 << 20

// decompress returns f itself when it is a plain tar, else a temporary file
// with what it decompresses to; then f is closed. On an error f stays open.
func decompress(ctx context.Context, f *os.File, o *Options) (*os.File, error) {
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("reading its beginning: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading its beginning: %w", err)
	}
	var r io.Reader
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		r, err = gzip.NewReader(f)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			defer z.Close()
		}
		r = z
	case isTar(head):
		return f, nil
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")), bytes.HasPrefix(head, []byte("BZh")):
		return nil, invalid("decompress it first: xz -d, bunzip2", "it is compressed with xz or bzip2")
	default:
		return nil, invalid("", "it is no tar, neither plain nor in gzip or zstd")
	}
	if err != nil {
		return nil, invalid("", "decompressing it: %v", err)
	}
	plain, err := spool(ctx, r, f, o)
	if err != nil {
		return nil, err
	}
	return plain, f.Close()
}

// isTar recognises the magic of POSIX and GNU (ustar), and an empty archive.
// Forms older than that hold no images.
func isTar(head []byte) bool {
	return len(head) == 512 && (string(head[257:262]) == "ustar" || len(bytes.Trim(head, "\x00")) == 0)
}

// spool writes what r gives to a temporary file, which is gone when it is
// closed. r reads from.
func spool(ctx context.Context, r io.Reader, from *os.File, o *Options) (_ *os.File, err error) {
	info, err := from.Stat()
	if err != nil {
		return nil, fmt.Errorf("decompressing it: %w", err)
	}
	most := o.Limits.Unpacked
	if size := info.Size(); size < most/o.Limits.Ratio {
		most = min(most, max(ratioFrom, size*o.Limits.Ratio))
	}
	out, err := os.CreateTemp(o.Temp, "bonded-scan-*.tar")
	if err != nil {
		return nil, fmt.Errorf("making a temporary file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, out.Close())
		}
	}()
	// An open file needs no name; whoever is killed leaves nothing behind.
	if err := os.Remove(out.Name()); err != nil {
		return nil, fmt.Errorf("making a temporary file: %w", err)
	}
	n, err := io.Copy(out, io.LimitReader(&bounded{ctx, r}, most+1))
	var written *os.PathError
	switch {
	case errors.As(err, &written) && written.Path == out.Name():
		return nil, fmt.Errorf("decompressing it to a temporary file: %w; name another folder in TMPDIR if there is no room", err)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, invalid("", "decompressing it after %d bytes: %v", n, err)
	case n > most:
		return nil, invalid("", "it decompresses from %d to more than %d bytes", info.Size(), most)
	}
	return out, nil
}

// bounded is a reader that ends with ctx.
type bounded struct {
	ctx context.Context
	r   io.Reader
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.r.Read(p)
}
