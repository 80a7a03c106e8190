package verify

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// identityOf reads who a verified certificate is for. A certificate that names
// two, or two issuers, could be taken for either and is refused.
func identityOf(cert *x509.Certificate) (evidence.Identity, error) {
	if cert.IsCA {
		return evidence.Identity{}, errors.New("it is signed with the certificate of a CA, which only signs certificates")
	}
	if n := len(cert.URIs) + len(cert.EmailAddresses) + len(cert.DNSNames) + len(cert.IPAddresses); n > 1 {
		return evidence.Identity{}, fmt.Errorf("its certificate names %d identities, and it must be one", n)
	}
	if err := oneIssuer(cert); err != nil {
		return evidence.Identity{}, err
	}
	summary, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return evidence.Identity{}, errors.New("its certificate names nobody")
	}
	if err := plainNames(summary.SubjectAlternativeName, summary.Issuer); err != nil {
		return evidence.Identity{}, err
	}
	return evidence.Identity{Issuer: summary.Issuer, Subject: summary.SubjectAlternativeName, Claims: claims(summary.Extensions)}, nil
}

// plainNames refuses names that do not look like what they are.
func plainNames(names ...string) error {
	for _, text := range names {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("its certificate has a control character in %s", oci.Quote(text))
		}
	}
	return nil
}

// Attributes of which crypto/x509 keeps the last (RFC 4519, 2.3 and 2.31).
var (
	oidCommonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidSerialNumber = asn1.ObjectIdentifier{2, 5, 4, 5}
)

// distinguished is the X.509 name of a verified certificate. One that names
// nobody, or two, could be taken for another.
func distinguished(cert *x509.Certificate) (evidence.Identity, error) {
	text := cert.Subject.String()
	if text == "" {
		return evidence.Identity{}, errors.New("its certificate names nobody: it has no subject")
	}
	for _, once := range []asn1.ObjectIdentifier{oidCommonName, oidSerialNumber} {
		n := 0
		for _, a := range cert.Subject.Names {
			if a.Type.Equal(once) {
				n++
			}
		}
		if n > 1 {
			return evidence.Identity{}, fmt.Errorf("the subject of its certificate has %d attributes of type %s, and it must be one", n, once)
		}
	}
	return evidence.Identity{Subject: text}, plainNames(text)
}

// oidIssuer is the extension that said the issuer before OIDIssuerV2; Fulcio
// writes both, and sigstore-go takes whichever comes last.
var oidIssuer = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}

// oneIssuer refuses a certificate whose two ways to say the OIDC issuer differ,
// or that says it twice.
func oneIssuer(cert *x509.Certificate) error {
	var old, current []string
	for _, e := range cert.Extensions {
		switch {
		case e.Id.Equal(oidIssuer):
			old = append(old, string(e.Value))
		case e.Id.Equal(certificate.OIDIssuerV2):
			var text string
			if rest, err := asn1.Unmarshal(e.Value, &text); err != nil || len(rest) > 0 {
				return errors.New("its certificate has an issuer that is no text")
			}
			current = append(current, text)
		}
	}
	for _, text := range append(old[min(1, len(old)):], current...) {
		if len(current) > 1 || len(old) > 0 && text != old[0] {
			return errors.New("its certificate names two OIDC issuers")
		}
	}
	return nil
}

// claims are the extensions that are set, by Fulcio's names.
func claims(e certificate.Extensions) map[string]string {
	all := [...]struct{ name, value string }{
		{"githubWorkflowTrigger", e.GithubWorkflowTrigger},
		{"githubWorkflowSHA", e.GithubWorkflowSHA},
		{"githubWorkflowName", e.GithubWorkflowName},
		{"githubWorkflowRepository", e.GithubWorkflowRepository},
		{"githubWorkflowRef", e.GithubWorkflowRef},
		{"buildSignerURI", e.BuildSignerURI},
		{"buildSignerDigest", e.BuildSignerDigest},
		{"runnerEnvironment", e.RunnerEnvironment},
		{"sourceRepositoryURI", e.SourceRepositoryURI},
		{"sourceRepositoryDigest", e.SourceRepositoryDigest},
		{"sourceRepositoryRef", e.SourceRepositoryRef},
		{"sourceRepositoryIdentifier", e.SourceRepositoryIdentifier},
		{"sourceRepositoryOwnerURI", e.SourceRepositoryOwnerURI},
		{"sourceRepositoryOwnerIdentifier", e.SourceRepositoryOwnerIdentifier},
		{"buildConfigURI", e.BuildConfigURI},
		{"buildConfigDigest", e.BuildConfigDigest},
		{"buildTrigger", e.BuildTrigger},
		{"runInvocationURI", e.RunInvocationURI},
		{"sourceRepositoryVisibilityAtSigning", e.SourceRepositoryVisibilityAtSigning},
	}
	var out map[string]string
	for _, c := range all {
		if c.value == "" {
			continue
		}
		if out == nil {
			out = make(map[string]string, len(all))
		}
		out[c.name] = c.value
	}
	return out
}
