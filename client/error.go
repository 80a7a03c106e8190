package client

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
)

// Error is a no of the server, or of the way to it.
type Error struct {
	Code       string // as in api.Error
	Message    string
	Next       string        // the next step, "" when there is none to name
	Status     int           // of HTTP; 0 when no answer came
	RetryAfter time.Duration // what the server asked for; 0 when it did not
	cause      error
}

// Error returns message and next step in one line.
func (e *Error) Error() string {
	if e.Next == "" {
		return e.Message
	}
	return e.Message + "; " + e.Next
}

// Unwrap returns what kept the request from being answered, nil when it was.
func (e *Error) Unwrap() error { return e.cause }

// ExitCode is what a command that ends with this error exits with: 1 denied,
// 2 usage, 4 not permitted, 5 unavailable, 6 internal.
func (e *Error) ExitCode() int {
	switch e.Code {
	case "denied":
		return 1
	case "invalid", "not-found":
		return 2
	case "unauthorized", "not-permitted":
		return 4
	case "unavailable", "conflict":
		return 5
	}
	return 6
}

// maxError bounds how much of an error's body is read, in bytes.
const maxError = 64 << 10

// refused turns an answer that is no 2xx into an *Error.
func refused(res *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxError)) // what came is all there is to show
	var said api.Error
	if err := json.Unmarshal(body, &said); err != nil || said.Code == "" || said.Message == "" {
		said = api.Error{
			Code:    codeOf(res.StatusCode),
			Message: fmt.Sprintf("%s answered %s", res.Request.URL.Host, res.Status),
			Next:    "it did not answer as a Bonded server does: check the URL, and proxies on the way",
		}
		if strings.Contains(string(body), "HTTP request to an HTTPS server") {
			said.Next = "this server speaks TLS: write https:// in the URL"
		}
	}
	e := fromAPI(said, res.StatusCode)
	e.RetryAfter = retryAfter(res)
	return e
}

func fromAPI(e api.Error, status int) *Error {
	return &Error{Code: e.Code, Message: e.Message, Next: e.Next, Status: status}
}

// codeOf is the code of an answer that has no body of ours.
func codeOf(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "unauthorized"
	case status == http.StatusForbidden:
		return "not-permitted"
	case status == http.StatusNotFound:
		return "not-found"
	case status == http.StatusTooManyRequests || status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout:
		return "unavailable"
	case status >= 400 && status < 500:
		return "invalid"
	}
	return "internal"
}

// unreachable says why no answer came from host.
func unreachable(host string, err error) error {
	why := err
	if call := (*url.Error)(nil); errors.As(err, &call) {
		why = call.Err // without the method and the URL
	}
	e := &Error{Code: "unavailable", Message: fmt.Sprintf("asking %s: %v", host, why), Next: "is the server running, and the URL right?", cause: err}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name):
		e.Next = "ask it by a name that its certificate has, or add this one on the server: tls.hosts"
	case errors.As(err, &unknown) || errors.As(err, &verify):
		e.Next = "the server's certificate is not trusted here: give its CA, as bonded trust ca prints it on the server"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // net/http has no error value for it
		e.Next = "this server speaks plain HTTP: write http:// in the URL"
	}
	return e
}
