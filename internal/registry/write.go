package registry

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
)

// manifestPut takes a manifest. The answer comes as soon as it is in the
// intake: nothing waits for the decision.
func (c *call) manifestPut() error {
	act, err := c.upload()
	if err != nil {
		return err
	}
	raw, err := c.manifestBody()
	if err != nil {
		return err
	}
	in := push.Put{Raw: raw, Digest: c.Digest, Tags: c.Tags}
	if c.Tag != "" {
		in.Tags = []string{c.Tag}
	}
	if s := c.r.Header.Get("Content-Type"); s != "" {
		// "The registry SHOULD ignore parameters on the Content-Type header."
		if in.MediaType, _, err = mime.ParseMediaType(s); err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
			return fmt.Errorf("%w: Content-Type %s", oci.ErrManifestInvalid, oci.Quote(s))
		}
	}
	v, _ := c.sight()(c.Repository)
	out, err := c.o.Push.Manifest(c.r.Context(), act, v, in)
	if err != nil {
		return err
	}
	c.pushed(out)
	return nil
}

// manifestBody reads the body, which has a limit ("413 Payload Too Large").
func (c *call) manifestBody() ([]byte, error) {
	large := fmt.Errorf("a manifest of more than %d bytes: %w", oci.MaxManifest, push.ErrTooLarge)
	if c.r.ContentLength > oci.MaxManifest {
		return nil, large
	}
	b := c.body(c.r.ContentLength)
	raw, err := io.ReadAll(io.LimitReader(b, oci.MaxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("receiving a manifest: %w", err)
	}
	if len(raw) > oci.MaxManifest {
		return nil, large
	}
	return raw, nil
}

// pushed answers 201 and says what became of the manifest.
func (c *call) pushed(out *push.Pushed) {
	h := c.w.Header()
	if !out.Subject.IsZero() {
		h.Set("OCI-Subject", out.Subject.String())
	}
	if len(c.Tags) > 0 {
		h.Set("OCI-Tag", strings.Join(c.Tags, ", "))
	}
	switch name := c.Repository.String() + "@" + out.Digest.String(); out.State {
	case repo.Held:
		warn(h, name+" is held in the intake until its decision; see: bonded why "+name)
	case repo.Denied:
		warn(h, name+" was denied; see: bonded why "+name)
	}
	if len(out.Waiting) > 0 {
		warn(h, "tag "+strings.Join(out.Waiting, ", ")+" of "+c.Repository.String()+" stays as it is for now: "+out.Why)
	}
	c.created("manifests", out.Digest)
}

func (c *call) manifestDelete() error {
	acts, err := c.acts(authz.Delete, authz.Withdraw)
	if err != nil {
		return err
	}
	v, _ := c.sight()(c.Repository)
	if c.Tag != "" {
		err = c.o.Remove.DeleteTag(c.r.Context(), acts, v, c.Repository, c.Tag)
	} else {
		err = c.o.Remove.DeleteManifest(c.r.Context(), acts, v, c.Repository, c.Digest)
	}
	if errors.Is(err, repo.ErrNotFound) {
		return c.noManifest()
	}
	return c.removed(err)
}

func (c *call) blobDelete() error {
	acts, err := c.acts(authz.Delete, authz.Withdraw)
	if err != nil {
		return err
	}
	v, _ := c.sight()(c.Repository)
	err = c.o.Remove.DeleteBlob(c.r.Context(), acts, v, c.Repository, c.Digest)
	if errors.Is(err, repo.ErrNotFound) {
		return missing(c.Repository, c.Digest, blobUnknown)
	}
	return c.removed(err)
}

func (c *call) removed(err error) error {
	if err == nil {
		c.w.WriteHeader(http.StatusAccepted)
	}
	return err
}
