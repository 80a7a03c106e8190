package drive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
)

// requestTime bounds one request.
const requestTime = 60 * time.Second

// judgeTime bounds the wait for a decision.
const judgeTime = 60 * time.Second

// User is somebody who uses a server. It stays good when the server is started
// again; while it is being started, nobody may use it. Otherwise a User is safe
// for concurrent use.
type User struct {
	api.Enrolled
	server *Server
}

func (s *Server) user(e api.Enrolled) *User { return &User{Enrolled: e, server: s} }

// Enrol makes an account with grants and enrols it.
func (s *Server) Enrol(name string, grants ...string) *User {
	s.tb.Helper()
	code := s.Invite(name, grants...)
	e := &api.Enrolled{}
	if err := (&User{server: s}).API(s.tb.Context(), http.MethodPost, "/enrol", api.EnrolRequest{Code: code, Label: "test"}, e); err != nil {
		s.tb.Fatalf("enrolling %s: %v", name, err)
	}
	return s.user(*e)
}

// Invite makes an account with grants and returns its one-time code.
func (s *Server) Invite(name string, grants ...string) string {
	s.tb.Helper()
	invite := &api.Invite{}
	if err := s.Admin.API(s.tb.Context(), http.MethodPost, "/principals", api.InviteRequest{Name: name, Human: true, Grants: grants}, invite); err != nil {
		s.tb.Fatalf("inviting %s: %v", name, err)
	}
	return invite.Code
}

// As returns the same person with another name and secret, as bonded login got
// them.
func (s *Server) As(name, secret string) *User {
	return s.user(api.Enrolled{Name: name, Secret: secret})
}

// URL is the root of the user's server.
func (u *User) URL() string { return u.server.URL() }

// Answer is a response with its body read.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	URL    *url.URL
}

// Err is nil if the answer has the status.
func (a *Answer) Err(status int) error {
	if a.Status == status {
		return nil
	}
	return &StatusError{Answer: a, Want: status}
}

// StatusError is an answer that was not hoped for.
type StatusError struct {
	*Answer
	Want int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s answers %d, want %d: %.2000s", e.URL.Path, e.Status, e.Want, e.Body)
}

// Status returns the status of a StatusError in err, 0 where there was no
// answer.
func Status(err error) int {
	var s *StatusError
	if errors.As(err, &s) {
		return s.Status
	}
	return 0
}

// Do sends a request to a path of the server, or to a whole URL. header is
// pairs of name and value.
func (u *User) Do(ctx context.Context, method, path string, body []byte, header ...string) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	if strings.HasPrefix(path, "/") {
		path = u.server.URL() + path
	}
	req, err := http.NewRequestWithContext(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if u.Name != "" {
		req.SetBasicAuth(u.Name, u.Secret)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := u.server.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	return &Answer{Status: res.StatusCode, Header: res.Header, Body: read, URL: req.URL}, nil
}

// want sends a request and returns its answer if it has the status.
func (u *User) want(ctx context.Context, status int, method, path string, body []byte, header ...string) (*Answer, error) {
	a, err := u.Do(ctx, method, path, body, header...)
	if err != nil {
		return nil, err
	}
	return a, a.Err(status)
}

// API asks the management API and decodes its answer into out, unless that is
// nil.
func (u *User) API(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		body = mustJSON(in)
	}
	a, err := u.Do(ctx, method, "/api/v1"+path, body, "Content-Type", "application/json")
	if err != nil {
		return err
	}
	if a.Status/100 != 2 {
		return a.Err(http.StatusOK)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(a.Body, out)
}

// PushBlob uploads a blob in one request.
func (u *User) PushBlob(ctx context.Context, repository string, content []byte) error {
	_, err := u.want(ctx, http.StatusCreated, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+oci.FromBytes(content).String(), content, octets...)
	return err
}

var octets = []string{"Content-Type", "application/octet-stream"}

// Upload is an upload in chunks.
type Upload struct {
	path string
	Sent int64 // bytes that the server said it has
}

// Begin begins an upload.
func (u *User) Begin(ctx context.Context, repository string) (*Upload, error) {
	a, err := u.want(ctx, http.StatusAccepted, http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil)
	if err != nil {
		return nil, err
	}
	up := &Upload{}
	return up, up.moved(a)
}

// moved takes over where the upload is now. Only the path is kept: the address
// of the server changes when it is started again.
func (up *Upload) moved(a *Answer) error {
	to, err := a.URL.Parse(a.Header.Get("Location"))
	if err != nil {
		return fmt.Errorf("reading the location of an upload: %v", err)
	}
	up.path = to.RequestURI()
	return nil
}

// Send appends a chunk.
func (u *User) Send(ctx context.Context, up *Upload, chunk []byte) error {
	a, err := u.want(ctx, http.StatusAccepted, http.MethodPatch, up.path, chunk, octets...)
	if err != nil {
		return err
	}
	up.Sent += int64(len(chunk))
	return up.moved(a)
}

// Resume asks how much of an upload the server has.
func (u *User) Resume(ctx context.Context, up *Upload) error {
	a, err := u.want(ctx, http.StatusNoContent, http.MethodGet, up.path, nil)
	if err != nil {
		return err
	}
	var last int64
	if _, err := fmt.Sscanf(a.Header.Get("Range"), "0-%d", &last); err != nil {
		return fmt.Errorf("reading the range %q: %v", a.Header.Get("Range"), err)
	}
	if up.Sent = last + 1; last == 0 {
		up.Sent = 0 // "0-0" stands for nothing, and for one byte, which no test sends
	}
	return up.moved(a)
}

// Finish ends an upload with the rest of its content.
func (u *User) Finish(ctx context.Context, up *Upload, rest []byte, d oci.Digest) error {
	sep := "?"
	if strings.Contains(up.path, "?") {
		sep = "&"
	}
	_, err := u.want(ctx, http.StatusCreated, http.MethodPut, up.path+sep+"digest="+d.String(), rest, octets...)
	return err
}

// Push pushes an image by tag, or by digest when tag is "".
func (u *User) Push(ctx context.Context, repository, tag string, i Image) error {
	for _, b := range i.Blobs() {
		if err := u.PushBlob(ctx, repository, b); err != nil {
			return err
		}
	}
	return u.PushManifest(ctx, repository, tag, i.MediaType, i.Manifest)
}

// PushManifest pushes a manifest by tag, or by digest when tag is "".
func (u *User) PushManifest(ctx context.Context, repository, tag, mediaType string, raw []byte) error {
	if tag == "" {
		tag = oci.FromBytes(raw).String()
	}
	_, err := u.want(ctx, http.StatusCreated, http.MethodPut, "/v2/"+repository+"/manifests/"+tag, raw, "Content-Type", mediaType)
	return err
}

// Pull gets an image by tag or digest with all that it names, and compares
// every byte.
func (u *User) Pull(ctx context.Context, repository, name string, want Image) error {
	a, err := u.want(ctx, http.StatusOK, http.MethodGet, "/v2/"+repository+"/manifests/"+name, nil)
	if err != nil {
		return err
	}
	if !bytes.Equal(a.Body, want.Manifest) {
		return fmt.Errorf("pulling %s %s: it is %s, want %s", repository, name, oci.FromBytes(a.Body), want.Digest)
	}
	for _, b := range want.Blobs() {
		d := oci.FromBytes(b)
		a, err := u.want(ctx, http.StatusOK, http.MethodGet, "/v2/"+repository+"/blobs/"+d.String(), nil)
		if err != nil {
			return err
		}
		if !bytes.Equal(a.Body, b) {
			return fmt.Errorf("pulling blob %s of %s: %d bytes come as %s", d, repository, len(a.Body), oci.FromBytes(a.Body))
		}
	}
	return nil
}

// Promote asks for a promotion and returns its decision.
func (u *User) Promote(ctx context.Context, ref, to string) (*api.Promoted, error) {
	p := &api.Promoted{}
	return p, u.API(ctx, http.MethodPost, "/promote", api.PromoteRequest{Reference: ref, To: to}, p)
}

// Why asks why a reference may be pulled or not.
func (u *User) Why(ctx context.Context, ref string) (*api.Why, error) {
	w := &api.Why{}
	return w, u.API(ctx, http.MethodGet, "/why?ref="+url.QueryEscape(ref), nil, w)
}

// Judged waits until a reference has a decision and is in one of the states,
// or in any where none is named.
func (u *User) Judged(ctx context.Context, ref string, states ...string) (*api.Why, error) {
	ctx, cancel := context.WithTimeout(ctx, judgeTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		w, err := u.Why(ctx, ref)
		if err == nil && w.Decision != nil && (len(states) == 0 || slices.Contains(states, w.State)) {
			return w, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return w, fmt.Errorf("waiting until %s is %s: it is %q, %w", ref, strings.Join(states, " or "), w.State, errors.Join(err, context.Cause(ctx)))
		}
	}
}

// UpdateFeeds loads the advisories of all feeds.
func (s *Server) UpdateFeeds() {
	s.tb.Helper()
	a, err := s.Admin.want(s.tb.Context(), http.StatusOK, http.MethodPost, "/api/v1/feeds/update", []byte(`{}`), "Content-Type", "application/json")
	if err != nil {
		s.tb.Fatalf("loading advisories: %v", err)
	}
	if bytes.Contains(a.Body, []byte(`"error":{`)) {
		s.tb.Fatalf("loading advisories: %s", a.Body)
	}
}
