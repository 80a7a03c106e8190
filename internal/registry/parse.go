package registry

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Op is what a request asks for.
type Op int

// The operations, in the order of the specification's table of endpoints. HEAD
// is GET.
const (
	Ping Op = iota + 1
	BlobGet
	ManifestGet
	UploadStart // also the single POST, and mounting
	UploadAppend
	UploadFinish
	ManifestPut
	TagsList
	ManifestDelete // of a digest or a tag
	BlobDelete
	ReferrersList
	UploadStatus
	UploadCancel
	Catalog
)

// String is a name for logs and metrics, from a bounded set.
func (o Op) String() string {
	if o < Ping || o > Catalog {
		return "none"
	}
	return [...]string{
		"ping", "blob-get", "manifest-get", "upload-start", "upload-append", "upload-finish", "manifest-put", "tags-list",
		"manifest-delete", "blob-delete", "referrers-list", "upload-status", "upload-cancel", "catalog",
	}[o-Ping]
}

// Request is a request of the protocol, as its method and URL tell. Which
// fields are set depends on Op.
type Request struct {
	Op         Op
	Repository oci.Repository
	// Tag and Digest name a manifest: one of them. Digest is also the blob, the
	// subject of referrers, what an upload claims to be (zero: nothing claimed)
	// or what is to be mounted.
	Tag    string
	Digest oci.Digest
	Upload blob.UploadID
	// Mount is set when Digest is to be mounted from From, which is zero when
	// the client does not say where it is.
	Mount bool
	From  oci.Repository
	// Tags are the tags that a manifest pushed by digest should get.
	Tags         []string
	ArtifactType string // of referrers; "" for all
	Last         string // the entry before the page, "" for the first page
	N            int    // entries on the page; -1 when the client does not say
}

// Errors of Parse beside those of package oci.
var (
	errNoEndpoint  = errors.New("no endpoint of the OCI distribution specification")
	errNumber      = errors.New("not a valid page size")
	errTooManyTags = errors.New("too many tags in one request")
	errNoDigest    = errors.New("the digest parameter is missing")
	errTagTwice    = errors.New("tag parameters go with a digest")
	errQuery       = errors.New("not a valid query")
)

// methodError says which methods a path has. HEAD goes with GET.
type methodError struct {
	method string
	allow  []string
}

func (e *methodError) Error() string {
	return fmt.Sprintf("no method %s here, only %s", oci.Quote(e.method), strings.Join(e.allow, ", "))
}

// Limits of requests. maxN is the largest page anyone gets, maxTags how many
// tags one PUT may set (the specification asks for 10 at least), maxQuery the
// bytes of a query.
const (
	maxN     = 10_000
	maxTags  = 100
	maxQuery = 32 << 10
)

// Parse reads method and URL. What it returns is valid by the grammars of
// package oci; errors match oci.ErrNameInvalid, ErrDigestInvalid,
// ErrTagInvalid, or blob.ErrUploadUnknown for a name that no upload can have.
// After an error the Request has what was read before it, for a challenge.
func Parse(method string, u *url.URL) (Request, error) {
	req := Request{N: -1}
	rest, ok := strings.CutPrefix(u.Path, "/v2/")
	switch {
	case u.Path == "/v2" || ok && rest == "":
		return req, req.method(method, methods{http.MethodGet: Ping})
	case !ok:
		return req, errNoEndpoint
	case rest == "_catalog":
		if err := req.method(method, methods{http.MethodGet: Catalog}); err != nil {
			return req, err
		}
	case u.RawPath != "" && strings.Contains(strings.ToLower(u.RawPath), "%2f"):
		// Two ways to write one name would get past whoever filters paths.
		return req, fmt.Errorf("%w: an escaped slash", oci.ErrNameInvalid)
	default:
		if err := req.path(method, rest); err != nil {
			return req, err
		}
	}
	return req, req.query(u.RawQuery)
}

// methods says which operation a method on a path is.
type methods map[string]Op

func (req *Request) method(method string, m methods) error {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	op, ok := m[method]
	if !ok {
		return &methodError{method: method, allow: slices.Sorted(maps.Keys(m))}
	}
	req.Op = op
	return nil
}

var (
	manifestMethods = methods{http.MethodGet: ManifestGet, http.MethodPut: ManifestPut, http.MethodDelete: ManifestDelete}
	blobMethods     = methods{http.MethodGet: BlobGet, http.MethodDelete: BlobDelete}
	startMethods    = methods{http.MethodPost: UploadStart}
	uploadMethods   = methods{http.MethodGet: UploadStatus, http.MethodPatch: UploadAppend, http.MethodPut: UploadFinish, http.MethodDelete: UploadCancel}
	tagsMethods     = methods{http.MethodGet: TagsList}
	referrerMethods = methods{http.MethodGet: ReferrersList}
)

// path reads what follows /v2/. A repository may have segments named like the
// fixed ones, so it is read from the end.
func (req *Request) path(method, rest string) error {
	front, last := cutLast(rest)
	name, kind := cutLast(front)
	var err error
	switch {
	case kind == "manifests":
		if err = req.name(name); err == nil {
			if err = req.method(method, manifestMethods); err == nil {
				err = req.reference(last)
			}
		}
		return err
	case kind == "blobs" && last == "uploads":
		return req.named(name, method, startMethods)
	case kind == "blobs":
		return req.digested(name, method, blobMethods, last)
	case kind == "referrers":
		return req.digested(name, method, referrerMethods, last)
	case kind == "tags" && last == "list":
		return req.named(name, method, tagsMethods)
	case kind == "uploads" && strings.HasSuffix(name, "/blobs"):
		name = strings.TrimSuffix(name, "/blobs")
		if last == "" {
			return req.named(name, method, startMethods)
		}
		if err := req.named(name, method, uploadMethods); err != nil {
			return err
		}
		if req.Upload = blob.UploadID(last); !req.Upload.Valid() {
			return fmt.Errorf("upload %s: %w", oci.Quote(last), blob.ErrUploadUnknown)
		}
		return nil
	}
	return errNoEndpoint
}

// cutLast cuts s around its last slash.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+1:]
}

func (req *Request) name(s string) (err error) {
	req.Repository, err = oci.ParseRepository(s)
	return err
}

func (req *Request) named(name, method string, m methods) error {
	if err := req.name(name); err != nil {
		return err
	}
	return req.method(method, m)
}

func (req *Request) digested(name, method string, m methods, digest string) error {
	err := req.named(name, method, m)
	if err == nil {
		req.Digest, err = oci.ParseDigest(digest)
	}
	return err
}

// reference reads a digest or a tag; they differ by the colon.
func (req *Request) reference(s string) (err error) {
	if strings.Contains(s, ":") {
		req.Digest, err = oci.ParseDigest(s)
		return err
	}
	if err := oci.CheckTag(s); err != nil {
		return err
	}
	req.Tag = s
	return nil
}

// query reads the parameters that the operation knows; others are ignored, as
// the specification lets clients send their own ("ns").
func (req *Request) query(raw string) error {
	if raw == "" {
		return req.complete()
	}
	if len(raw) > maxQuery {
		return fmt.Errorf("%w: %d bytes, at most %d", errQuery, len(raw), maxQuery)
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return fmt.Errorf("%w: %v", errQuery, err)
	}
	switch req.Op {
	case UploadStart:
		err = req.startQuery(q)
	case UploadFinish:
		err = req.claim(q)
	case ManifestPut:
		err = req.tagQuery(q["tag"])
	case TagsList, Catalog, ReferrersList:
		req.ArtifactType, req.Last = q.Get("artifactType"), q.Get("last")
		err = req.page(q)
	}
	if err != nil {
		return err
	}
	return req.complete()
}

// complete reports what is missing.
func (req *Request) complete() error {
	if req.Op == UploadFinish && req.Digest.IsZero() {
		return errNoDigest
	}
	return nil
}

func (req *Request) claim(q url.Values) (err error) {
	if s := q.Get("digest"); s != "" {
		req.Digest, err = oci.ParseDigest(s)
	}
	return err
}

// startQuery reads what a POST asks for: a mount, a whole blob, or a session.
// The digest-algorithm is checked and otherwise not needed: SHA-256 is always
// computed, and what is claimed to be something else is read again at the end.
func (req *Request) startQuery(q url.Values) (err error) {
	if s := q.Get("digest-algorithm"); s != "" && s != string(oci.SHA256) && s != string(oci.SHA512) {
		return fmt.Errorf("%w: digest-algorithm %s, want sha256 or sha512", oci.ErrDigestInvalid, oci.Quote(s))
	}
	s := q.Get("mount")
	if s == "" {
		return req.claim(q)
	}
	req.Mount = true
	if req.Digest, err = oci.ParseDigest(s); err != nil {
		return err
	}
	if from := q.Get("from"); from != "" {
		req.From, err = oci.ParseRepository(from)
	}
	return err
}

func (req *Request) tagQuery(tags []string) error {
	switch {
	case len(tags) == 0:
		return nil
	case req.Tag != "":
		return fmt.Errorf("%w; this path names tag %s", errTagTwice, req.Tag)
	case len(tags) > maxTags:
		return fmt.Errorf("%w: %d, at most %d", errTooManyTags, len(tags), maxTags)
	}
	for _, t := range tags {
		if err := oci.CheckTag(t); err != nil {
			return err
		}
	}
	req.Tags = tags
	return nil
}

func (req *Request) page(q url.Values) error {
	s, ok := q["n"]
	if !ok {
		return nil
	}
	n, err := strconv.ParseUint(s[0], 10, 31)
	if err != nil {
		return fmt.Errorf("%w: n is %s, want a number from 0", errNumber, oci.Quote(s[0]))
	}
	req.N = min(int(n), maxN)
	return nil
}
