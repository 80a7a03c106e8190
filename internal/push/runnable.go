package push

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/bonded-dev/bonded/internal/oci"
)

// hides reports whether m, which claims to be of a kind, could still be run.
// With the empty configuration nothing can: it names no layers.
func hides(m *oci.Manifest, kind oci.Kind) bool {
	switch kind {
	case oci.KindEvidence, oci.KindChart, oci.KindModel:
		return m.Config.MediaType != oci.MediaTypeEmpty || m.Config.Digest != emptyJSON
	}
	return false
}

// runnable looks behind a claim to be something that no runtime runs: evidence,
// which is never gated, or a chart or model, whose layers are not analysed. Some
// runtimes take a configuration of any media type, so a document whose layers
// they would unpack is an image (or other) however it is labelled.
//
// The content of a layer that may be kept elsewhere is not looked at: whether
// others have brought it must not show.
func (f *Flow) runnable(ctx context.Context, m *oci.Manifest, kind oci.Kind) oci.Kind {
	for _, l := range m.Layers {
		if oci.IsForeignLayer(l.MediaType) || (m.HasImageConfig() || isLayerType(l.MediaType)) && f.unpackable(ctx, l.Digest) {
			if m.HasImageConfig() {
				return oci.KindImage
			}
			return oci.KindOther
		}
	}
	return kind
}

// emptyJSON is the digest of "{}" (image specification 1.1, "empty descriptor").
var emptyJSON = oci.FromBytes([]byte("{}"))

func isLayerType(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.") || strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.")
}

// sniffed is how many bytes of a layer are looked at: the magic number of an
// EROFS image comes latest.
const sniffed = 1028

// unpackable reports whether a blob starts like something a runtime would
// unpack, mount or run. One that cannot be looked at counts as such.
func (f *Flow) unpackable(ctx context.Context, d oci.Digest) bool {
	c, err := f.Blobs.Open(ctx, d)
	if err != nil {
		return true
	}
	defer c.Close()
	head := make([]byte, sniffed)
	n, err := io.ReadFull(c, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return true
	}
	return isArchive(head[:n])
}

// archives are the first bytes of what is unpacked, mounted or run as a layer.
var archives = [][]byte{
	{0x1f, 0x8b}, {0x28, 0xb5, 0x2f, 0xfd}, []byte("BZh"), {0xfd, '7', 'z', 'X', 'Z'}, // gzip, zstd, bzip2, xz
	[]byte("hsqs"), []byte("\x00asm"), // squashfs, WebAssembly
}

func isArchive(head []byte) bool {
	for _, magic := range archives {
		if bytes.HasPrefix(head, magic) {
			return true
		}
	}
	switch {
	case len(head) > 3 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		return true // a skippable zstd frame
	case len(head) >= sniffed && bytes.Equal(head[1024:sniffed], []byte{0xe2, 0xe1, 0xf5, 0xe0}):
		return true // EROFS
	}
	return isTar(head)
}

// isTar reports whether a tar stream begins here. That its first header can be
// read is not asked: it may go on beyond what is looked at. The checksum is
// what every reader goes by (POSIX.1-1988, ustar), in one of two ways to add.
func isTar(head []byte) bool {
	const size, from, to = 512, 148, 156 // of a header, and where its checksum is
	if len(head) < size {
		return false
	}
	var unsigned, signed int64
	for i, c := range head[:size] {
		if i >= from && i < to {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	field := bytes.Trim(head[from:to], " \x00")
	if i := bytes.IndexByte(field, 0); i >= 0 {
		field = field[:i]
	}
	sum, err := strconv.ParseInt(string(field), 8, 64)
	return err == nil && (sum == unsigned || sum == signed)
}
