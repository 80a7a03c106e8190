package registry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Authenticator says who is asking.
type Authenticator interface {
	// Authenticate returns the principal of a request, authz.Anonymous when it
	// carries no credentials. Errors match authz.ErrUnauthenticated when the
	// credentials are no good, and are *authz.Throttled when they were not
	// looked at because too many were not.
	Authenticate(r *http.Request) (authz.Principal, error)
	// Challenge is the WWW-Authenticate header of a 401 to r. cause is what
	// Authenticate returned, or matches authz.ErrNotPermitted when the token
	// lacks scope, or is nil. scope is what a token for r needs, "" for none.
	Challenge(r *http.Request, cause error, scope string) string
}

// Remover takes away. acts are those of delete and withdraw that the caller
// may do in r, at least one: removing what stands in a gated zone needs the
// latter, anything else the former. What v may not see is not there. Errors
// match repo.ErrNotFound, repo.ErrConflict, authz.ErrNotPermitted.
type Remover interface {
	// DeleteManifest removes the placement of d, and the tags that point at it.
	DeleteManifest(ctx context.Context, acts []authz.Act, v repo.Viewer, r oci.Repository, d oci.Digest) error
	// DeleteTag removes the tag, in force or pending, and leaves the manifest.
	DeleteTag(ctx context.Context, acts []authz.Act, v repo.Viewer, r oci.Repository, tag string) error
	// DeleteBlob ends the leases of d. One that a manifest of r names is
	// promote.ErrInUse.
	DeleteBlob(ctx context.Context, acts []authz.Act, v repo.Viewer, r oci.Repository, d oci.Digest) error
}

// Options are what a Registry works with. All fields but those marked are
// required.
type Options struct {
	Auth   Authenticator
	Open   authz.Open // Optional: what anyone may do without rights.
	Sight  func(authz.Principal) repo.Sight
	Reader repo.Reader
	Blobs  blob.Store
	Push   *push.Flow
	Remove Remover
	Clock  func() time.Time
	Log    *slog.Logger
	// Idle is how long the body of an upload may bring nothing. Optional: 1 minute.
	Idle time.Duration
	// MinChunk is the least size in bytes that all chunks of an upload but the
	// last should have for the content store's sake; it is asked for with
	// OCI-Chunk-Min-Length. Optional: 0 asks for nothing.
	MinChunk int64
	// Pulled is told of every manifest that was handed out. It must not block.
	// Optional.
	Pulled func(who authz.Principal, r oci.Repository, d oci.Digest)
	// Observe is told of every request that was answered. Optional.
	Observe func(op Op, status int, took time.Duration)
}

// Registry serves the protocol. It is safe for concurrent use.
type Registry struct{ o Options }

// New returns a Registry.
func New(o Options) *Registry {
	if o.Idle == 0 {
		o.Idle = time.Minute
	}
	return &Registry{o}
}

var _ http.Handler = (*Registry)(nil)

// call is one request being answered.
type call struct {
	*Registry
	Request
	w http.ResponseWriter
	r *http.Request
	p authz.Principal
}

// operation is what an Op needs and who answers it.
type operation struct {
	actions string // of the registry token flow, for challenges
	serve   func(*call) error
}

var ops = [...]operation{
	Ping:           {"", (*call).ping},
	BlobGet:        {"pull", (*call).blobGet},
	ManifestGet:    {"pull", (*call).manifestGet},
	UploadStart:    {"pull,push", (*call).uploadStart},
	UploadAppend:   {"pull,push", (*call).uploadAppend},
	UploadFinish:   {"pull,push", (*call).uploadFinish},
	ManifestPut:    {"pull,push", (*call).manifestPut},
	TagsList:       {"pull", (*call).tagsList},
	ManifestDelete: {"delete", (*call).manifestDelete},
	BlobDelete:     {"delete", (*call).blobDelete},
	ReferrersList:  {"pull", (*call).referrersList},
	UploadStatus:   {"pull,push", (*call).uploadStatus},
	UploadCancel:   {"pull,push", (*call).uploadCancel},
	Catalog:        {"*", (*call).catalog},
}

// apiVersion is what Docker clients look for before they take a 401 for one of
// a registry.
var apiVersion = []string{"registry/2.0"}

// ServeHTTP answers one request.
func (reg *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header()["Docker-Distribution-Api-Version"] = apiVersion
	c := call{Registry: reg, w: w, r: r}
	if reg.o.Observe != nil {
		seen := &recorder{ResponseWriter: w, status: http.StatusOK}
		c.w = seen
		began := reg.o.Clock()
		defer func() { reg.o.Observe(c.Op, seen.status, reg.o.Clock().Sub(began)) }()
	}
	if err := c.serve(); err != nil {
		c.fail(err)
	}
}

func (c *call) serve() error {
	var err error
	if c.Request, err = Parse(c.r.Method, c.r.URL); err != nil {
		return c.unparsed(err)
	}
	if c.p, err = c.o.Auth.Authenticate(c.r); err != nil {
		return err
	}
	return ops[c.Op].serve(c)
}

// unparsed gives a parse error its answer where reading and writing differ: a
// tag that cannot exist is not found.
func (c *call) unparsed(err error) error {
	if errors.Is(err, oci.ErrTagInvalid) && c.Op != ManifestPut {
		return &fault{http.StatusNotFound, manifestUnknown, err.Error(), ""}
	}
	return err
}

// fail answers with err, unless nobody is left to read it.
func (c *call) fail(err error) {
	if errors.Is(err, context.Canceled) && c.r.Context().Err() != nil {
		return
	}
	a := answerTo(err)
	var method *methodError
	switch {
	case errors.As(err, &method):
		c.w.Header().Set("Allow", strings.Join(method.allow, ", "))
	case a.status == http.StatusUnauthorized:
		c.w.Header().Set("WWW-Authenticate", c.o.Auth.Challenge(c.r, challenged(err), c.scope()))
	case a.status >= http.StatusInternalServerError:
		c.o.Log.ErrorContext(c.r.Context(), "answering a registry request", "op", c.Op.String(), "repository", c.Repository.String(), "status", a.status, "error", err)
	}
	a.write(c.w)
}

// recorder notes the status of an answer. It forwards ReadFrom, so that a file
// still goes out by sendfile.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if status >= http.StatusOK { // 1xx come before the answer
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// ReadFrom forwards, so that the copy finds the ReadFrom below.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) { return io.Copy(r.ResponseWriter, src) }

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
