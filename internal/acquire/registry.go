package acquire

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/opencontainers/go-digest"
	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/scheme/reg"
	"github.com/regclient/regclient/types/descriptor"
	"github.com/regclient/regclient/types/errs"
	"github.com/regclient/regclient/types/ref"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Time limits of connections to registries. Bodies have none: a layer may take
// its time, and the caller's context bounds it.
const (
	dialTimeout   = 30 * time.Second
	headerTimeout = time.Minute
	probeTimeout  = 5 * time.Second
	retries       = 3 // of a request; a broken body is gone on with where it broke
)

// registry is an artifact in a registry.
type registry struct {
	client *regclient.RegClient
	at     ref.Ref
	ref    reference
	root   *oci.Manifest
}

func openRegistry(ctx context.Context, r reference, o *Options) (*registry, error) {
	at, err := ref.New(r.String())
	if err != nil {
		return nil, invalid("", "it is no reference: %v", err)
	}
	s := &registry{at: at, ref: r, client: newClient(ctx, r.host, o)}
	got, err := s.client.ManifestGet(ctx, at)
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	raw, err := got.RawBody()
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	alg := oci.SHA256
	if !r.Digest.IsZero() {
		alg = r.Digest.Algorithm()
	}
	if s.root, err = oci.ParseManifest(raw, got.GetDescriptor().MediaType, alg); err != nil {
		return nil, err
	}
	if !r.Digest.IsZero() && s.root.Digest != r.Digest {
		return nil, fmt.Errorf("%s: %w: its bytes are %s", r.Digest, ErrCorrupt, s.root.Digest)
	}
	return s, nil
}

// newClient returns a client for one registry.
func newClient(ctx context.Context, host string, o *Options) *regclient.RegClient {
	h := config.Host{Name: host, ReqConcurrent: 8}
	if isLoopback(host) && speaksPlainHTTP(ctx, host) {
		h.TLS = config.TLSDisabled
	}
	opts := []regclient.Opt{regclient.WithSlog(o.Log)}
	for _, file := range slices.Backward(o.AuthFiles) { // the last that is read counts
		opts = append(opts, regclient.WithDockerCredsFile(file))
	}
	if o.UserAgent != "" {
		opts = append(opts, regclient.WithUserAgent(o.UserAgent))
	}
	return regclient.New(append(opts, regclient.WithConfigHost(h), regclient.WithRegOpts(
		reg.WithTransport(newTransport(nil)),
		reg.WithCertDirs(certDirsFor(host, o.CertDirs)),
		reg.WithManifestMax(oci.MaxManifest, oci.MaxManifest),
		reg.WithRetryLimit(retries),
	))...)
}

// certDirsFor returns those folders that have certificates for a host. Where any
// is named, the client reads all of the system's before it connects, which takes
// longer than most of what is asked here.
func certDirsFor(host string, dirs []string) []string {
	return slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, host))
		return errors.Is(err, fs.ErrNotExist)
	})
}

func newTransport(t *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: t, TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: headerTimeout,
		DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8,
	}
}

// isLoopback: as docker has it, a registry on this machine may do without TLS.
func isLoopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

// speaksPlainHTTP asks a registry on this machine which of both it is. It
// sends no credentials, so that nobody has to be trusted for the answer.
func speaksPlainHTTP(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/v2/", http.NoBody)
	if err != nil {
		return false
	}
	t := newTransport(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}) // only to see whether it is TLS
	defer t.CloseIdleConnections()
	res, err := t.RoundTrip(req)
	if err != nil {
		var record tls.RecordHeaderError // its first bytes were no TLS
		return errors.As(err, &record)
	}
	res.Body.Close()
	return false
}

// maxSaid is how much of what a registry says about an error is passed on, in bytes.
const maxSaid = 300

// explain turns the client's errors into ours, with the next step.
func (s *registry) explain(ctx context.Context, err error) error {
	said := s.said(err)
	var unknown *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errs.ErrNotFound):
		return absent("", "the registry does not have it: %s", said)
	case errors.Is(err, errs.ErrHTTPUnauthorized), errors.Is(err, errs.ErrEmptyChallenge), errors.Is(err, errs.ErrNoNewChallenge), errors.Is(err, errs.ErrNoLogin):
		return fmt.Errorf("%w: log in with: docker login %s (%s)", ErrDenied, s.ref.host, said)
	case errors.As(err, &unknown):
		return fmt.Errorf("%w as one that is trusted: put its authority's certificate into /etc/docker/certs.d/%s/ca.crt (%s)", ErrUnavailable, s.ref.host, said)
	case errors.Is(err, errs.ErrDigestMismatch), errors.Is(err, errs.ErrSizeLimitExceeded), errors.Is(err, errs.ErrShortRead):
		return fmt.Errorf("%w: %s", ErrCorrupt, said)
	}
	return fmt.Errorf("%w: %s", ErrUnavailable, said)
}

// said is what a registry says about an error, in its words: what the client puts
// around them, and the JSON that they come in, is left out.
func (s *registry) said(err error) string {
	text := err.Error()
	if _, rest, ok := strings.Cut(text, s.at.CommonName()+": "); ok {
		text = rest
	}
	text = strings.TrimPrefix(text, "request failed: ")
	if i := strings.IndexAny(text, "{<"); i >= 0 {
		var body struct {
			Errors []struct{ Message string }
		}
		page := text[i:]
		text = strings.TrimRight(text[:i], ": ")
		if json.NewDecoder(strings.NewReader(page)).Decode(&body) == nil && len(body.Errors) > 0 && body.Errors[0].Message != "" {
			text = body.Errors[0].Message + " (" + text + ")"
		}
	}
	text = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, text)
	if len(text) > maxSaid {
		text = strings.ToValidUTF8(text[:maxSaid], "") + "…"
	}
	return text
}

func (s *registry) Name() string { return s.ref.String() }
func (s *registry) Path() string { return pathOf(s.ref.host + "/" + s.ref.Repository.String()) }
func (s *registry) Close() error { return nil }

func (s *registry) Root() oci.Descriptor {
	return oci.Descriptor{MediaType: s.root.MediaType, Digest: s.root.Digest, Size: int64(len(s.root.Raw))}
}

func (s *registry) Manifest(ctx context.Context, d oci.Descriptor) (*oci.Manifest, error) {
	if d.Digest == s.root.Digest {
		return s.root, nil
	}
	got, err := s.client.ManifestGet(ctx, s.at.SetDigest(d.Digest.String()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Digest, s.explain(ctx, err))
	}
	raw, err := got.RawBody()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Digest, s.explain(ctx, err))
	}
	return readManifest(ctx, inMemory(raw), d)
}

func (s *registry) Blob(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	r, err := s.client.BlobGet(ctx, s.at, descriptor.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest.String()), Size: d.Size})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Digest, s.explain(ctx, err))
	}
	return verify(ctx, &download{r, s, ctx}, d), nil
}

// download explains the errors of a blob that is arriving.
type download struct {
	io.ReadCloser
	from *registry
	ctx  context.Context
}

func (d *download) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = d.from.explain(d.ctx, err)
	}
	return n, err
}
