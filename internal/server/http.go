package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/pki"
	"github.com/bonded-dev/bonded/internal/telemetry"
)

// Time limits of connections. Bodies have none here: an upload of hours is
// fine as long as bytes keep coming, which the registry sees to.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	bodyTimeout   = time.Minute // until the handler asks for the body, or has answered without
	maxHeader     = 64 << 10    // bytes
)

// limitBody gives a body a deadline for whom nobody reads it: net/http waits
// for the rest of a small one before it takes the next request. Handlers that
// read set their own and take it away at the end.
func limitBody(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			// A connection that knows no deadlines is not one of ours.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout)) //nolint:forbidigo // a deadline is a moment of this machine
		}
		next.ServeHTTP(w, r)
	})
}

// newHTTP returns a server for a handler. HTTP/2 is left out: it buys registry
// clients nothing and costs the copy of every byte. Measured with TLS, it takes
// 2.4 times the CPU of a pull of blobs, 1.6 times that of a GET of a manifest,
// and as much for a push.
func newHTTP(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           limitBody(h, bodyTimeout),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// transport is how clients reach the server.
type transport struct {
	listener net.Listener // with TLS, unless it is off
	url      string       // "https://host:port"
	ca       []byte       // PEM of the server's own authority; nil when it is not used
	newCA    bool         // the authority was made just now
}

// listen opens the listener and, unless TLS is off, the certificate.
func listen(ctx context.Context, c *config.Config, dev bool, clock clock, log *slog.Logger) (*transport, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w; choose another address with --listen", c.Listen, err)
	}
	t := &transport{listener: l}
	if err := t.secure(c, dev, clock, log); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return t, nil
}

func (t *transport) secure(c *config.Config, dev bool, clock clock, log *slog.Logger) error {
	scheme := schemeOf(c, dev)
	t.url = publicURL(c.URL, scheme, hostname(), t.listener.Addr())
	if scheme == "http" {
		return nil
	}
	get, err := t.certificate(c, hostname(), clock, log)
	if err != nil {
		return err
	}
	o := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: get, NextProtos: []string{"http/1.1"}}
	if c.Trust.Clients.CAFile != "" {
		o.ClientAuth = tls.RequestClientCert // the issuer of tokens checks it, and nobody else looks
	}
	t.listener = tls.NewListener(t.listener, o)
	return nil
}

func schemeOf(c *config.Config, dev bool) string {
	if dev || c.TLS.Off {
		return "http"
	}
	return "https"
}

// hostname is the name of this machine, "" where it has none.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// certificate returns the operator's certificate, or one of an authority of
// our own.
func (t *transport) certificate(c *config.Config, host string, clock clock, log *slog.Logger) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	if c.TLS.Cert != "" {
		files, err := pki.OpenFiles(string(c.TLS.Cert), string(c.TLS.Key), clock, log)
		if err != nil {
			return nil, err
		}
		return files.GetCertificate, nil
	}
	o := pki.Options{Dir: CAFolder(c), Hosts: append([]string{"localhost", "127.0.0.1", "::1"}, c.TLS.Hosts...), Guesses: []string{host}, Clock: clock, Log: log}
	for _, s := range []string{hostOf(c.URL), hostOf("https://" + c.Listen)} {
		if s != "" {
			o.Hosts = append(o.Hosts, s)
		}
	}
	a, err := pki.Open(o)
	if err != nil {
		return nil, err
	}
	t.ca, t.newCA = a.PEM(), a.Made()
	return a.GetCertificate, nil
}

// CAFolder is where the server's own authority lives.
func CAFolder(c *config.Config) string { return filepath.Join(string(c.Data), "ca") }

// hostOf returns the host of a URL unless it stands for all addresses.
func hostOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsUnspecified() {
		return ""
	}
	return u.Hostname()
}

// publicURL is how clients reach the server: as configured, else by the
// address that it listens on, or the machine's name where that is all of them.
func publicURL(configured, scheme, host string, addr net.Addr) string {
	if configured != "" {
		return configured
	}
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return scheme + "://" + addr.String()
	}
	switch {
	case len(tcp.IP) > 0 && !tcp.IP.IsUnspecified():
		host = tcp.IP.String()
	case host == "":
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

// routes is the whole URL space.
func (s *Server) routes(f *faces) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v2/", f.registry)
	mux.Handle("/token", f.token)
	mux.Handle("/api/v1/", f.api)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }) // nobody to tell
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.trust != nil {
		s.trustRoutes(mux)
		s.auditRoutes(mux, f.auth)
	}
	if s.config.Metrics.Listen == "" {
		mux.Handle("GET /metrics", s.permitted(f.auth, authz.Administer, telemetry.MetricsHandler(s.metrics)))
	}
	return s.deciding.governed(mux)
}

// readyz says whether requests should be sent here, and if not, why.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if why := s.notReady(r.Context()); why != "" {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n")) // nobody to tell
}

// authenticator is authn as the wiring needs it.
type authenticator interface {
	Authenticate(r *http.Request) (authz.Principal, error)
	Challenge(r *http.Request, cause error, scope string) string
}

// permitted lets only those through who may do something on the server.
func (s *Server) permitted(auth authenticator, verb authz.Verb, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := auth.Authenticate(r)
		if err == nil {
			_, err = authz.Check(p, verb, noRepository, nil)
		}
		switch {
		case err == nil:
			next.ServeHTTP(w, r)
		case errors.Is(err, authz.ErrNotPermitted) && !p.IsAnonymous():
			http.Error(w, err.Error(), http.StatusForbidden)
		default:
			w.Header().Set("WWW-Authenticate", auth.Challenge(r, err, ""))
			http.Error(w, err.Error(), http.StatusUnauthorized)
		}
	})
}
