package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
)

// upload returns the act by which the caller may send content: push, or attach,
// which suffices for what evidence is made of.
func (c *call) upload() (authz.Act, error) { return c.permit(authz.Push, authz.Attach) }

// uploadStart mounts, takes a whole blob, or opens a session.
func (c *call) uploadStart() error {
	act, err := c.upload()
	if err != nil {
		return err
	}
	if c.Mount {
		mounted, err := c.mount(act)
		if err != nil {
			return err
		}
		if mounted {
			c.created("blobs", c.Digest)
			return nil
		}
	} else if !c.Digest.IsZero() && (c.r.ContentLength != 0 || c.Digest == emptyOf(c.Digest.Algorithm())) {
		return c.uploadWhole(act)
	}
	id, err := c.o.Push.Begin(c.r.Context(), act)
	if err != nil {
		return err
	}
	if c.o.MinChunk > 0 {
		c.w.Header().Set("OCI-Chunk-Min-Length", strconv.FormatInt(c.o.MinChunk, 10))
	}
	c.progress(id, 0)
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

// emptyOf is the digest of nothing.
func emptyOf(alg oci.Algorithm) oci.Digest { return alg.DigestOf(nil) }

// mount makes a blob of another repository usable here. That it cannot be is
// no error: the client then sends it.
func (c *call) mount(act authz.Act) (bool, error) {
	if c.From.IsZero() {
		return false, nil
	}
	from, err := c.source()
	if err != nil || from == nil {
		return false, err
	}
	v, _ := c.sight()(c.From)
	err = c.o.Push.Mount(c.r.Context(), act, *from, v, c.Digest)
	if errors.Is(err, push.ErrBlobUnknown) {
		return false, nil
	}
	return err == nil, err
}

// source returns the act of reading where a mount comes from, nil when the
// caller may not, and a challenge when another token would do.
func (c *call) source() (*authz.Act, error) {
	var refusal error
	for _, v := range []authz.Verb{authz.Pull, authz.PullFromQuarantine} {
		act, err := authz.Check(c.p, v, c.From, c.o.Open)
		if err == nil {
			return &act, nil
		}
		refusal = err
	}
	if c.wider(c.From, authz.Pull, authz.PullFromQuarantine) {
		return nil, &loginError{cause: refusal}
	}
	return nil, nil
}

// uploadWhole is the single POST (distribution specification 1.1, end-4b). The
// client is not told of a session, so none is left behind.
func (c *call) uploadWhole(act authz.Act) error {
	ctx := c.r.Context()
	id, err := c.o.Push.Begin(ctx, act)
	if err != nil {
		return err
	}
	if err := c.finish(act, id, chunk{offset: push.AnyOffset, length: c.r.ContentLength}); err != nil {
		if cancelErr := c.o.Push.Cancel(context.WithoutCancel(ctx), act, id); cancelErr != nil && !errors.Is(cancelErr, blob.ErrUploadUnknown) {
			c.o.Log.WarnContext(ctx, "removing the upload of a request that was refused", "upload", string(id), "error", cancelErr)
		}
		return err
	}
	return nil
}

func (c *call) uploadAppend() error {
	act, err := c.upload()
	if err != nil {
		return err
	}
	at, err := chunkOf(c.r)
	if err != nil {
		return err
	}
	b := c.body(at.length)
	size, err := c.o.Push.Append(c.r.Context(), act, c.Upload, at.offset, b)
	if err != nil {
		return c.unfinished(act, c.Upload, b, err)
	}
	c.progress(c.Upload, size)
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

func (c *call) uploadFinish() error {
	act, err := c.upload()
	if err != nil {
		return err
	}
	at, err := chunkOf(c.r)
	if err != nil {
		return err
	}
	return c.finish(act, c.Upload, at)
}

// finish closes an upload with what the body still brings.
func (c *call) finish(act authz.Act, id blob.UploadID, at chunk) error {
	b := c.body(at.length)
	if err := c.o.Push.Finish(c.r.Context(), act, id, c.Digest, at.offset, b); err != nil {
		return c.unfinished(act, id, b, err)
	}
	c.created("blobs", c.Digest)
	return nil
}

// unfinished gives a failed write its answer. When bytes came that are kept, or
// were out of order, it also says how far the upload is.
func (c *call) unfinished(act authz.Act, id blob.UploadID, b *body, err error) error {
	if failed := b.failed(); failed != nil {
		err = fmt.Errorf("receiving upload %s: %w", id, failed)
	} else if !errors.Is(err, blob.ErrOffset) {
		return err
	}
	if size, sizeErr := c.o.Push.Size(c.r.Context(), act, id); sizeErr == nil && c.Op != UploadStart {
		c.progress(id, size)
	}
	return err
}

func (c *call) uploadStatus() error {
	act, err := c.upload()
	if err != nil {
		return err
	}
	size, err := c.o.Push.Size(c.r.Context(), act, c.Upload)
	if err != nil {
		return err
	}
	c.progress(c.Upload, size)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) uploadCancel() error {
	act, err := c.upload()
	if err != nil {
		return err
	}
	if err := c.o.Push.Cancel(c.r.Context(), act, c.Upload); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// progress sets the headers that say where an upload is and how far. The range
// of an empty one is "0-0", as that of one byte: the protocol has no form for
// nothing.
func (c *call) progress(id blob.UploadID, size int64) {
	h := c.w.Header()
	h.Set("Location", "/v2/"+c.Repository.String()+"/blobs/uploads/"+string(id))
	h.Set("Range", "0-"+strconv.FormatInt(max(size-1, 0), 10))
	h.Set("Docker-Upload-UUID", string(id))
}

// created answers 201 with where the new content is.
func (c *call) created(kind string, d oci.Digest) {
	h := c.w.Header()
	h.Set("Location", "/v2/"+c.Repository.String()+"/"+kind+"/"+d.String())
	h.Set("Docker-Content-Digest", d.String())
	c.w.WriteHeader(http.StatusCreated)
}

// body is the request's body, cut off when it brings nothing for Options.Idle.
// length is what was announced, -1 when nothing was.
func (c *call) body(length int64) *body {
	conn, until := http.NewResponseController(c.w), time.Time{}
	return &body{r: c.r.Body, left: length, idle: func(done bool) {
		now := time.Now() //nolint:forbidigo // a deadline is a moment of this machine, whatever clock the registry was given
		switch {
		case done:
			// net/http watches the connection while the handler works on: a
			// deadline would look to it like a client that went away.
			until = time.Time{}
		case until.Sub(now) > c.o.Idle/2:
			return
		default:
			until = now.Add(c.o.Idle)
		}
		// A connection that knows no deadlines is bounded by the server alone.
		_ = conn.SetReadDeadline(until)
	}}
}
