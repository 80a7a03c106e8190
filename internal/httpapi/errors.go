package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/custody"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/waiver"
)

var (
	errNoEndpoint = errors.New("no endpoint of the management API")
	// errLogin: the caller said nothing about who it is, and had to.
	errLogin = fmt.Errorf("%w: this needs a login", authz.ErrUnauthenticated)
	// errNarrow: the token is for a few things only, and this is none of them.
	errNarrow = fmt.Errorf("%w: this token is for a few things only; get one with scope %s", authz.ErrUnauthenticated, wholeScope)
	// errQuery and errBody: a request that cannot be read.
	errQuery = errors.New("not a valid query")
	errBody  = errors.New("not a valid body")
	errLarge = errors.New("a body larger than this server reads")
	errMedia = errors.New("a body of another type than application/json")
	errTar   = errors.New("a body of another type than " + tarType)
)

// ErrNoWay: the zones know no way from the one to the other.
var ErrNoWay = errors.New("no way between these zones")

// methodError says which methods a path has.
type methodError struct {
	method string
	allow  []string
}

func (e *methodError) Error() string {
	return fmt.Sprintf("no method %s here, only %s", oci.Quote(e.method), strings.Join(e.allow, ", "))
}

// row says how an error is answered.
type row struct {
	is     error
	status int
	code   string // of api.Error
	next   string // the next step, where the error's text does not name it
}

const seeDescription = "see GET " + root + "/openapi.json"

// table holds every error that a caller may cause or has to know. The first
// row that matches counts. What is in no row is a fault of the server.
var table = []row{
	{errNoEndpoint, http.StatusNotFound, "not-found", seeDescription},
	{errQuery, http.StatusBadRequest, "invalid", seeDescription},
	{errBody, http.StatusBadRequest, "invalid", seeDescription},
	{errMedia, http.StatusUnsupportedMediaType, "invalid", "send Content-Type: application/json"},
	{errTar, http.StatusUnsupportedMediaType, "invalid", "send a tar of the folder with Content-Type: " + tarType},
	{errLarge, http.StatusRequestEntityTooLarge, "invalid", ""},
	{errNarrow, http.StatusUnauthorized, "unauthorized", ""},
	{authz.ErrUnauthenticated, http.StatusUnauthorized, "unauthorized", "log in: bonded login"},
	{authz.ErrNotPermitted, http.StatusForbidden, "not-permitted", ""},
	{authz.ErrInvalid, http.StatusBadRequest, "invalid", ""},
	{authz.ErrGrantInvalid, http.StatusBadRequest, "invalid", ""},
	{evidence.ErrRevocationInvalid, http.StatusBadRequest, "invalid", ""},
	{evidence.ErrWaiverInvalid, http.StatusBadRequest, "invalid", ""},
	{waiver.ErrTooMany, http.StatusConflict, "conflict", ""},
	{oci.ErrNameInvalid, http.StatusBadRequest, "invalid", ""},
	{oci.ErrTagInvalid, http.StatusBadRequest, "invalid", ""},
	{oci.ErrDigestInvalid, http.StatusBadRequest, "invalid", ""},
	{ErrNoWay, http.StatusBadRequest, "invalid", "see the ways between zones: bonded zone list"},
	{vuln.ErrPURLInvalid, http.StatusBadRequest, "invalid", "write pkg:TYPE/NAME, such as pkg:golang/golang.org/x/net or pkg:deb/debian/openssl@3.0.11"},
	{push.ErrRefused, http.StatusForbidden, "denied", ""},
	{repo.ErrNotFound, http.StatusNotFound, "not-found", ""},
	{repo.ErrConflict, http.StatusConflict, "conflict", ""},
	{assess.ErrVEXInvalid, http.StatusBadRequest, "invalid", "send an OpenVEX, CSAF or CycloneDX document, as it would be attached"},
	{assess.ErrNotAnalysed, http.StatusBadRequest, "invalid", ""},
	{custody.ErrNoProof, http.StatusServiceUnavailable, "unavailable", "see what is wrong: bonded health"},
	{errNoCustody, http.StatusServiceUnavailable, "unavailable", "see what is wrong: bonded health"},
	{vuln.ErrNoSnapshot, http.StatusServiceUnavailable, "unavailable", "load advisories: bonded feed update"},
	{blob.ErrNoSpace, http.StatusInsufficientStorage, "unavailable", "tell the operator that the server's storage is full"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "unavailable", "try again"},
}

// answer is what an error becomes.
type answer struct {
	status int
	api.Error
	allow []string
	retry time.Duration // 0: no Retry-After
}

// answerTo looks up what to tell the caller about an error. To who has not
// authenticated, what is not there or not permitted may be both with a login.
func (c *call) answerTo(err error) answer {
	var throttled *authz.Throttled
	var method *methodError
	var outer *elsewhere
	switch {
	case errors.As(err, &outer):
		return answer{status: http.StatusBadGateway, Error: api.Error{Code: "unavailable", Message: strings.ReplaceAll(outer.Error(), "\n", "; ")}}
	case errors.As(err, &throttled):
		return answer{status: http.StatusTooManyRequests, Error: api.Error{Code: "unavailable", Message: throttled.Error()}, retry: throttled.After}
	case errors.As(err, &method):
		return answer{status: http.StatusMethodNotAllowed, Error: api.Error{Code: "invalid", Message: method.Error(), Next: seeDescription}, allow: method.allow}
	}
	for _, r := range table {
		if !errors.Is(err, r.is) {
			continue
		}
		a := answer{status: r.status, Error: api.Error{Code: r.code, Message: said(err), Next: r.next}}
		switch {
		case c.p.Method == authz.Anonymous.Method && (r.is == repo.ErrNotFound || r.is == authz.ErrNotPermitted):
			a.status, a.Code, a.Next = http.StatusUnauthorized, "unauthorized", "log in: bonded login"
		case r.is == authz.ErrNotPermitted && c.wider(err):
			a.status, a.Code, a.Message, a.Next = http.StatusUnauthorized, "unauthorized", "this token was not issued for that", "get one with scope "+wholeScope
		case a.status == http.StatusServiceUnavailable:
			a.retry = time.Second
		}
		return a
	}
	return answer{status: http.StatusInternalServerError, Error: api.Error{
		Code: "internal", Message: "the server could not do this; it is not your fault", Next: "try again, and tell the operator when it stays",
	}}
}

func (a answer) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if a.allow != nil {
		h.Set("Allow", strings.Join(a.allow, ", "))
	}
	if a.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((a.retry+time.Second-1)/time.Second)))
	}
	b, err := json.Marshal(a.Error)
	if err != nil { // strings always marshal
		panic("httpapi: encoding an error: " + err.Error())
	}
	w.WriteHeader(a.status)
	w.Write(b)
}

// said is an error for people: on one line, and "no X: not found" says one thing
// twice.
func said(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if strings.HasPrefix(text, "no ") {
		text = "there is " + strings.Replace(text, ": "+repo.ErrNotFound.Error(), "", 1)
	}
	return text
}
