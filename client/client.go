// Package client is a Go client of the management API of Bonded.
//
// A Client is safe for concurrent use. Its methods return what package api
// describes; when the server says no, or cannot be reached, the error is an
// *Error. A context that ends gives the context's own error.
package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options say which server, and who asks.
type Options struct {
	// URL of the server, such as "https://bonded.example:8443". Its path, if
	// any, comes before /api/v1.
	URL string
	// CA are the roots that the server's certificate must come from.
	// Optional: nil means the roots of the system. Not with HTTPClient.
	CA *x509.CertPool
	// Name and Secret are those that enrolling gave. Optional: without both the
	// caller is anonymous, which suffices to enrol.
	Name, Secret string
	// HTTPClient does the requests. Optional: by default one that follows the
	// environment's proxy settings, no redirects, and has no overall time
	// limit; contexts set those.
	HTTPClient *http.Client
	// UserAgent is sent with each request. Optional: "bonded-client".
	UserAgent string
	// Cleartext allows sending Secret without TLS to a host that is not this
	// machine.
	Cleartext bool
}

// Client asks one server as one principal.
type Client struct {
	base  *url.URL
	o     Options
	http  *http.Client
	pause func(time.Duration) <-chan time.Time
	rand  func() float64 // in [0, 1), for jitter
}

// New checks the options and returns a Client. It sends nothing.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the server's URL: %v", err)
	}
	switch {
	case base.Scheme != "http" && base.Scheme != "https" || base.Host == "":
		return nil, fmt.Errorf("the server's URL %q is not of the form https://HOST[:PORT]", o.URL)
	case base.RawQuery != "" || base.Fragment != "" || base.User != nil:
		return nil, fmt.Errorf("the server's URL %q has more than scheme, host and path; credentials go into name and secret", base.Redacted())
	case (o.Name == "") != (o.Secret == ""):
		return nil, errors.New("a name without a secret, or a secret without a name: both come from enrolling (bonded login)")
	case base.Scheme == "http" && o.Secret != "" && !o.Cleartext && !loopback(base.Hostname()):
		return nil, fmt.Errorf("the secret would go to %s in clear text; use https", base.Host)
	case o.CA != nil && o.HTTPClient != nil:
		return nil, errors.New("roots and an HTTP client are given; put the roots into the client")
	}
	if o.UserAgent == "" {
		o.UserAgent = "bonded-client"
	}
	base.Path = strings.TrimSuffix(base.Path, "/") + "/api/v1"
	c := &Client{base: base, o: o, http: o.HTTPClient, pause: time.After, rand: rand.Float64}
	if c.http == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = &tls.Config{RootCAs: o.CA, MinVersion: tls.VersionTLS12}
		// The API redirects nobody: who does would get the secret, perhaps in clear text.
		c.http = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return c, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
