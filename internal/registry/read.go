package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// ping tells that this is a registry. It asks everybody to log in: clients
// decide here whether they will ever authenticate, and a sandbox that is open
// to all stands beside zones that are not. The token flow has tokens for
// anonymous callers too.
func (c *call) ping() error {
	if c.p.IsAnonymous() && c.r.Header.Get("Authorization") == "" {
		return &loginError{}
	}
	c.w.Header().Set("Content-Type", "application/json")
	io.WriteString(c.w, "{}")
	return nil
}

// manifestGet serves a manifest as it is stored. Accept is not consulted: the
// content was asked for by name, and clients that cannot use its type say so
// better than a 406 would.
func (c *call) manifestGet() error {
	v, err := c.read()
	if err != nil {
		return err
	}
	m, err := c.o.Reader.Lookup(c.r.Context(), c.Repository, repo.Selector{Tag: c.Tag, Digest: c.Digest}, v)
	if errors.Is(err, repo.ErrNotFound) {
		return c.noManifest()
	}
	if err != nil {
		return err
	}
	if !v.Visible(&m.Placement) {
		if v.Own && (m.State != repo.Revoked || m.BroughtBy != v.Principal) {
			return c.noManifest()
		}
		return refused(&m.Placement, m.Manifest.Digest, manifestUnknown)
	}
	h := c.w.Header()
	standing(h, &m.Placement)
	digest := m.Manifest.Digest.String()
	etag := `"` + digest + `"`
	h["Content-Type"] = []string{m.MediaType}
	h["Docker-Content-Digest"] = []string{digest}
	h["Etag"] = []string{etag}
	if match := c.r.Header["If-None-Match"]; len(match) > 0 && matches(match, etag) {
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h["Content-Length"] = []string{strconv.Itoa(len(m.Raw))}
	if c.r.Method == http.MethodHead {
		return nil
	}
	c.w.Write(m.Raw)
	if c.o.Pulled != nil {
		c.o.Pulled(c.p, c.Repository, m.Manifest.Digest)
	}
	return nil
}

func (c *call) noManifest() error {
	if c.Tag == "" {
		return missing(c.Repository, c.Digest, manifestUnknown)
	}
	return &fault{http.StatusNotFound, manifestUnknown, fmt.Sprintf("no tag %s in %s", c.Tag, c.Repository), ""}
}

// matches reports whether If-None-Match names etag (RFC 9110, 13.1.2: the weak
// comparison).
func matches(lines []string, etag string) bool {
	for _, line := range lines {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
			if tag == etag || tag == "*" {
				return true
			}
		}
	}
	return false
}

// blobGet serves a blob that the caller can reach in the repository.
func (c *call) blobGet() error {
	v, err := c.read()
	if err != nil {
		return err
	}
	access, err := c.o.Reader.BlobAccess(c.r.Context(), c.Repository, c.Digest, v)
	switch {
	case errors.Is(err, repo.ErrNotFound):
		return missing(c.Repository, c.Digest, blobUnknown)
	case err != nil:
		return err
	case !access.Readable && access.Refused != nil:
		return refused(access.Refused, c.Digest, blobUnknown)
	case !access.Readable:
		return missing(c.Repository, c.Digest, blobUnknown)
	}
	return c.serveBlob(access.Size)
}

// serveBlob sends the content, whole or the ranges asked for. From a file it
// goes by sendfile.
func (c *call) serveBlob(size int64) error {
	h := c.w.Header()
	digest := c.Digest.String()
	h["Content-Type"] = []string{"application/octet-stream"}
	h["Docker-Content-Digest"] = []string{digest}
	h["Etag"] = []string{`"` + digest + `"`}
	var content io.ReadSeeker = sized(size)
	if c.r.Method != http.MethodHead {
		b, err := c.o.Blobs.Open(c.r.Context(), c.Digest)
		if errors.Is(err, blob.ErrNotFound) {
			c.unserve()
			return fmt.Errorf("content of %s is named by %s and not in the content store; run: bonded fsck", c.Digest, c.Repository)
		}
		if err != nil {
			c.unserve()
			return err
		}
		defer b.Close()
		if content = b; b.File() != nil {
			content = b.File()
		}
	}
	http.ServeContent(c.w, c.r, "", time.Time{}, content)
	return nil
}

// unserve takes back what only a blob's answer may carry.
func (c *call) unserve() {
	h := c.w.Header()
	h.Del("Docker-Content-Digest")
	h.Del("Etag")
}

// sized stands for content of which only the size is asked: the answer to a
// HEAD needs no file.
type sized int64

func (s sized) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return int64(s) + offset, nil
	}
	return offset, nil
}

func (sized) Read([]byte) (int, error) {
	return 0, errors.New("reading content of which only the size is known")
}

// descriptorSize is a bound of what a descriptor takes beside its annotations,
// in bytes, for filling a page.
const descriptorSize = 1 << 10

// size is about what a descriptor takes in a list.
func size(d *oci.Descriptor) int {
	n := descriptorSize
	for k, v := range d.Annotations {
		n += len(k) + len(v) + 8
	}
	return n
}
