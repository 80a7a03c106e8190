package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/promote"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Code is an error code of the distribution specification 1.1, "Error Codes".
type Code string

// The codes. unknown is outside the specification's list, which has none for
// faults of the server; clients know it from Docker's registry.
const (
	blobUnknown         Code = "BLOB_UNKNOWN"
	blobUploadInvalid   Code = "BLOB_UPLOAD_INVALID"
	blobUploadUnknown   Code = "BLOB_UPLOAD_UNKNOWN"
	digestInvalid       Code = "DIGEST_INVALID"
	manifestBlobUnknown Code = "MANIFEST_BLOB_UNKNOWN"
	manifestInvalid     Code = "MANIFEST_INVALID"
	manifestUnknown     Code = "MANIFEST_UNKNOWN"
	nameInvalid         Code = "NAME_INVALID"
	nameUnknown         Code = "NAME_UNKNOWN"
	sizeInvalid         Code = "SIZE_INVALID"
	unauthorized        Code = "UNAUTHORIZED"
	denied              Code = "DENIED"
	unsupported         Code = "UNSUPPORTED"
	tooManyRequests     Code = "TOOMANYREQUESTS"
	unknown             Code = "UNKNOWN"
)

// row says how an error is answered.
type row struct {
	is     error
	status int
	code   Code
	next   string // the next step, where the error's text does not name it
}

// table holds every error a caller may cause or has to know. The first row
// that matches counts. What is in no row is a fault of the server.
var table = []row{
	{oci.ErrNameInvalid, http.StatusBadRequest, nameInvalid, "use ZONE/PATH in lower case"},
	{oci.ErrDigestInvalid, http.StatusBadRequest, digestInvalid, ""},
	{oci.ErrTagInvalid, http.StatusBadRequest, manifestInvalid, ""},
	{oci.ErrSchema1, http.StatusUnsupportedMediaType, manifestInvalid, ""},
	{oci.ErrManifestInvalid, http.StatusBadRequest, manifestInvalid, "build the image again with a current tool"},
	{push.ErrDigestMismatch, http.StatusBadRequest, digestInvalid, "send it again"},
	{push.ErrSizeMismatch, http.StatusBadRequest, manifestInvalid, "a descriptor must carry the size of its content"},
	{push.ErrBlobUnknown, http.StatusNotFound, manifestBlobUnknown, ""},
	{push.ErrTooLarge, http.StatusRequestEntityTooLarge, sizeInvalid, ""},
	// "If blob deletion is disabled, the registry MUST respond with […] 405".
	{promote.ErrInUse, http.StatusMethodNotAllowed, unsupported, "delete the manifests first"},
	{push.ErrRefused, http.StatusForbidden, denied, ""},
	{push.ErrTooMany, http.StatusTooManyRequests, tooManyRequests, ""},
	{push.ErrBusy, http.StatusTooManyRequests, tooManyRequests, "wait for the other request to end, then ask for the upload's status"},
	{blob.ErrUploadUnknown, http.StatusNotFound, blobUploadUnknown, "start a new upload"},
	{blob.ErrOffset, http.StatusRequestedRangeNotSatisfiable, blobUploadInvalid, "ask for the upload's status with GET and go on from there"},
	{blob.ErrNoSpace, http.StatusInsufficientStorage, unknown, "tell the operator that the registry's storage is full; what was stored is intact"},
	{errRange, http.StatusBadRequest, blobUploadInvalid, "send Content-Range: FIRST-LAST"},
	{errLength, http.StatusBadRequest, sizeInvalid, "ask for the upload's status with GET and go on from there"},
	{errIdle, http.StatusRequestTimeout, blobUploadInvalid, "ask for the upload's status with GET and go on from there"},
	{errBody, http.StatusBadRequest, blobUploadInvalid, "ask for the upload's status with GET and go on from there"},
	{errNoEndpoint, http.StatusNotFound, unsupported, ""},
	{errNumber, http.StatusBadRequest, unsupported, ""},
	{errTooManyTags, http.StatusRequestURITooLong, unsupported, "send several requests"},
	{errNoDigest, http.StatusBadRequest, digestInvalid, "close the upload with PUT LOCATION?digest=sha256:…"},
	{errTagTwice, http.StatusBadRequest, manifestInvalid, "push by digest to set several tags"},
	{errQuery, http.StatusBadRequest, unsupported, ""},
	{authz.ErrNotPermitted, http.StatusForbidden, denied, ""},
	{authz.ErrUnauthenticated, http.StatusUnauthorized, unauthorized, ""},
	{repo.ErrNotFound, http.StatusNotFound, nameUnknown, ""},
	{repo.ErrConflict, http.StatusConflict, denied, "try again"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, unknown, "try again"},
}

// fault is an error with the answer that the handler chose for it, where the
// table's would not do.
type fault struct {
	status int
	code   Code
	text   string
	next   string
}

func (f *fault) Error() string { return f.text }

// answer is what an error becomes.
type answer struct {
	fault
	retry time.Duration // 0: no Retry-After
}

// answerTo looks an error up.
func answerTo(err error) answer {
	var f *fault
	var throttled *authz.Throttled
	var refusal *authz.Refusal
	var method *methodError
	switch {
	case errors.As(err, &f):
		return answer{fault: *f}
	case errors.As(err, &throttled):
		return answer{fault: fault{http.StatusTooManyRequests, tooManyRequests, throttled.Error(), ""}, retry: throttled.After}
	case errors.As(err, &refusal) && refusal.Anonymous:
		return answer{fault: fault{http.StatusUnauthorized, unauthorized, refusal.Error(), ""}}
	case errors.As(err, &method):
		return answer{fault: fault{http.StatusMethodNotAllowed, unsupported, method.Error(), ""}}
	}
	for _, r := range table {
		if errors.Is(err, r.is) {
			text := oneLine(err.Error())
			if r.status >= http.StatusInternalServerError {
				text = r.is.Error() // the chain names files and hosts of the server; it is logged
			}
			a := answer{fault: fault{r.status, r.code, text, r.next}}
			if r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable {
				a.retry = time.Second
			}
			return a
		}
	}
	return answer{fault: fault{http.StatusInternalServerError, unknown, "the registry could not do this; it is not your fault", "try again, and tell the operator when it stays"}}
}

// oneLine keeps joined errors, which come one a line, readable.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// errorBody is the document of the distribution specification 1.1, "Error Codes".
type errorBody struct {
	Errors []errorEntry `json:"errors"`
}

type errorEntry struct {
	Code    Code         `json:"code"`
	Message string       `json:"message"`
	Detail  *errorDetail `json:"detail,omitempty"` // clients print an empty one
}

type errorDetail struct {
	Next string `json:"next"`
}

// write answers with a. Who is refused something gets the reason as a warning
// too, because the answer to a HEAD has no body.
func (a answer) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if a.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((a.retry+time.Second-1)/time.Second)))
	}
	if a.code == denied {
		warn(h, a.text)
	}
	entry := errorEntry{Code: a.code, Message: a.text}
	if a.next != "" && !strings.Contains(a.text, a.next) { // crane and oras print both
		entry.Detail = &errorDetail{a.next}
	}
	b, err := json.Marshal(errorBody{[]errorEntry{entry}})
	if err != nil { // strings always marshal
		panic("registry: encoding an error: " + err.Error())
	}
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(a.status)
	w.Write(b)
}

// maxWarning bounds the text of a warning, in bytes: all warnings of an answer
// may have 4096 together, and none has more than two.
const maxWarning = 1500

// warn adds a warning (distribution specification 1.1, "Warnings").
func warn(h http.Header, text string) {
	if len(text) > maxWarning {
		text = strings.ToValidUTF8(text[:maxWarning], "") + "…"
	}
	h.Add("Warning", `299 - "`+quoted(text)+`"`)
}

// quoted escapes text for a quoted-string of RFC 9110; control characters
// become spaces.
func quoted(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
