package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/sigstore/fulcio/pkg/config"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Kind says what the tokens of an issuer are of, and so what its certificates
// name.
type Kind string

// The kinds.
const (
	Email      Kind = "email"      // people, by a verified e-mail address
	URI        Kind = "uri"        // anything, by a subject that is a URL on the issuer's host
	GitHub     Kind = "github"     // GitHub Actions
	GitLab     Kind = "gitlab"     // GitLab CI
	Kubernetes Kind = "kubernetes" // service accounts
	Jenkins    Kind = "jenkins"    // builds, by Jenkins' OpenID Connect plug-in
	SPIFFE     Kind = "spiffe"     // workloads, by their SPIFFE ID
)

// Issuer is an OpenID Connect issuer whose tokens are taken.
type Issuer struct {
	URL  string // as tokens have it in "iss"
	Kind Kind
	// Audience is what tokens must be for. Optional. Default "sigstore".
	Audience string
	// CAFile is a PEM file with the authority behind the issuer's TLS
	// certificate. Optional. Default: those of the system.
	CAFile string
	// JWKSFile is a file with the issuer's keys, for one that cannot be reached.
	// It is read again for each token. Optional. Default: by discovery, when the
	// first token comes.
	JWKSFile string
	// Site is where the repositories of GitHub or GitLab are, "https://HOST".
	// Optional. Default: github.com, or the host of the issuer.
	Site string
	// TrustDomain is that of a SPIFFE issuer. Needed for that kind.
	TrustDomain string
	// EmailVerified takes the addresses of an issuer that never says
	// email_verified, such as Entra ID. It trusts the issuer to have checked them.
	EmailVerified bool
}

// types are Fulcio's words for the kinds whose principals it makes.
var types = map[Kind]config.IssuerType{
	Email: config.IssuerTypeEmail, URI: config.IssuerTypeURI, Kubernetes: config.IssuerTypeKubernetes, SPIFFE: config.IssuerTypeSpiffe,
}

func (i Issuer) check() error {
	u, err := url.Parse(i.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && local(u.Hostname())) || u.RawQuery != "" || u.User != nil {
		return errors.New("want https://HOST[/PATH]; http:// only on this machine")
	}
	if types[i.Kind] == "" && builds[i.Kind] == nil {
		return fmt.Errorf("there is no kind %.40q; kinds are email, uri, github, gitlab, kubernetes, jenkins, spiffe", i.Kind)
	}
	if i.CAFile != "" && i.JWKSFile != "" {
		return errors.New("ca_file and jwks_file contradict each other: keys that are in a file are not fetched")
	}
	if i.TrustDomain != "" || i.Kind == SPIFFE {
		if _, err := spiffeid.TrustDomainFromString(i.TrustDomain); err != nil {
			return fmt.Errorf("trust_domain %.100q: %v", i.TrustDomain, err)
		}
	}
	if site, err := url.Parse(i.Site); i.Site != "" && (err != nil || site.Scheme != "https" || site.Host == "" || strings.Trim(site.Path, "/") != "") {
		return fmt.Errorf("site %.100q: want https://HOST", i.Site)
	}
	return nil
}

func local(host string) bool { return host == "localhost" || host == "127.0.0.1" || host == "::1" }

// fulcio returns the issuer as Fulcio's code has it.
func (i Issuer) fulcio() *config.FulcioConfig {
	u, _ := url.Parse(i.URL)
	return &config.FulcioConfig{OIDCIssuers: map[string]config.OIDCIssuer{i.URL: {
		IssuerURL: i.URL, ClientID: i.Audience, Type: types[i.Kind], SubjectDomain: u.Scheme + "://" + u.Host,
		SPIFFETrustDomain: i.TrustDomain, SkipEmailVerification: i.EmailVerified,
	}}}
}

// site returns where the repositories are.
func (i Issuer) site() string {
	u, _ := url.Parse(i.URL)
	switch {
	case i.Site != "":
		return strings.TrimSuffix(i.Site, "/")
	case i.Kind == GitHub && u.Host == "token.actions.githubusercontent.com":
		return "https://github.com"
	}
	return u.Scheme + "://" + u.Host
}

// roots returns the authorities of CAFile, nil for those of the system.
func (i Issuer) roots() (*x509.CertPool, error) {
	if i.CAFile == "" {
		return nil, nil
	}
	b, err := os.ReadFile(i.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("reading ca_file %s: it holds no PEM certificate", path.Base(i.CAFile))
	}
	return pool, nil
}
