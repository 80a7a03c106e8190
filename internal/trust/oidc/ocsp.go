package oidc

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Bounds of a folder of OCSP responses: files, and bytes of each. A response with
// the certificates of its responder has some kilobytes.
const (
	maxResponses = 20_000
	maxResponse  = 64 << 10
)

// response is an OCSP response (RFC 6960) whose signer is still to be judged.
type response struct {
	*ocsp.Response
	of   certID
	file string
}

// certID says which certificate a response is about (RFC 6960, 4.1.1): the
// issuer by the hashes of its name and key, and the serial number.
type certID struct {
	Hash    pkix.AlgorithmIdentifier
	NameSum []byte
	KeySum  []byte
	Serial  *big.Int
}

// responseData is the head of ResponseData (RFC 6960, 4.2.1), which the library
// reads without giving away the issuer that a response is about.
type responseData struct {
	Version   int `asn1:"optional,default:0,explicit,tag:0"`
	Responder asn1.RawValue
	Produced  time.Time `asn1:"generalized"`
	Responses []asn1.RawValue
}

// parseResponse reads the one response of a file.
func parseResponse(b []byte) (*response, error) {
	// The signature is verified by the certificate in it, if there is one; by the
	// authority it is when that is known.
	r, err := ocsp.ParseResponse(b, nil)
	if err != nil {
		return nil, err
	}
	var data responseData
	if _, err := asn1.Unmarshal(r.TBSResponseData, &data); err != nil || len(data.Responses) != 1 {
		return nil, fmt.Errorf("it has %d statuses, want one: %v", len(data.Responses), err)
	}
	out := &response{Response: r}
	if _, err := asn1.Unmarshal(data.Responses[0].Bytes, &out.of); err != nil {
		return nil, fmt.Errorf("reading what it is about: %w", err)
	}
	if out.of.Serial == nil || out.of.Serial.Cmp(r.SerialNumber) != 0 {
		return nil, errors.New("it is about two certificates")
	}
	return out, nil
}

// about reports whether the response is about a certificate of an authority.
func (r *response) about(cert, ca *x509.Certificate) bool {
	if r.of.Serial.Cmp(cert.SerialNumber) != 0 {
		return false
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(ca.RawSubjectPublicKeyInfo, &spki); err != nil || !r.IssuerHash.Available() {
		return false
	}
	return bytes.Equal(r.of.NameSum, sum(r.IssuerHash, ca.RawSubject)) && bytes.Equal(r.of.KeySum, sum(r.IssuerHash, spki.Key.RightAlign()))
}

func sum(hash crypto.Hash, b []byte) []byte {
	h := hash.New()
	h.Write(b)
	return h.Sum(nil)
}

// signedFor checks that the authority signed the response, or who it has given
// that to (RFC 6960, 4.2.2.2): a certificate that it issued itself, for that.
func (r *response) signedFor(ca *x509.Certificate, now time.Time) error {
	by := r.Certificate
	if by == nil || by.Equal(ca) {
		if err := r.CheckSignatureFrom(ca); err != nil {
			return fmt.Errorf("it is not signed by %s: %v", describe(ca), err)
		}
		return nil
	}
	switch err := by.CheckSignatureFrom(ca); {
	case err != nil:
		return fmt.Errorf("its responder %s has no certificate of %s: %v", describe(by), describe(ca), err)
	case !slices.Contains(by.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return fmt.Errorf("its responder %s may not sign responses (extended key usage OCSPSigning)", describe(by))
	case now.Before(by.NotBefore) || now.After(by.NotAfter):
		return fmt.Errorf("the certificate of its responder %s ended on %s", describe(by), by.NotAfter.Format(time.RFC3339))
	case len(by.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("the certificate of its responder %s has an unknown critical extension", describe(by))
	}
	return nil // the library has checked the signature by it
}

// allows returns nil where the response says that the certificate is good, now.
func (r *response) allows(ca *x509.Certificate, now time.Time) error {
	if err := r.signedFor(ca, now); err != nil {
		return fmt.Errorf("the OCSP response %s is not taken: %w", r.file, err)
	}
	switch {
	case r.Status == ocsp.Revoked:
		// Also where the response has ended: nobody is unrevoked by waiting.
		return errRevoked{fmt.Sprintf("it was revoked on %s (OCSP response %s)", r.RevokedAt.Format(time.DateOnly), r.file)}
	case r.Status != ocsp.Good:
		return errRevoked{fmt.Sprintf("the responder of %s does not know it (OCSP response %s)", describe(ca), r.file)}
	case now.Before(r.ThisUpdate):
		return fmt.Errorf("the OCSP response %s begins on %s", r.file, r.ThisUpdate.Format(time.RFC3339))
	case r.NextUpdate.IsZero():
		return fmt.Errorf("the OCSP response %s does not say when it ends; a responder that says so is needed (nextUpdate)", r.file)
	case !now.Before(r.NextUpdate):
		return fmt.Errorf("the OCSP response %s ended on %s; bring a newer one (ocsp_dir)", r.file, r.NextUpdate.Format(time.RFC3339))
	}
	return nil
}

// responses are those of a folder.
type responses []*response

// newest returns the newest one about a certificate that its authority, or its
// responder, has signed. One that nobody with that right signed says nothing, and
// is returned where there is no other, for its reason.
func (all responses) newest(cert, ca *x509.Certificate, now time.Time) *response {
	var best *response
	signed := false
	for _, r := range all {
		if !r.about(cert, ca) {
			continue
		}
		ok := r.signedFor(ca, now) == nil
		if best == nil || ok && !signed || ok == signed && r.ThisUpdate.After(best.ThisUpdate) {
			best, signed = r, ok
		}
	}
	return best
}

// folder keeps the responses of a folder; files that change are read again.
type folder struct {
	files map[string]*cached[*response]
}

// get reads what is new in a folder. A file that is no response is an error: it
// may be the one that says that somebody is revoked.
func (f *folder) get(dir string) (responses, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > maxResponses {
		return nil, fmt.Errorf("%s has %d files, more than %d", dir, len(entries), maxResponses)
	}
	files := make(map[string]*cached[*response], len(entries))
	var all responses
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue // hidden ones are on their way
		}
		c := f.files[e.Name()]
		if c == nil {
			c = &cached[*response]{limit: maxResponse}
		}
		r, err := c.get(filepath.Join(dir, e.Name()), func(b []byte) (*response, error) {
			r, err := parseResponse(b)
			if err == nil {
				r.file = e.Name()
			}
			return r, err
		})
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went away since
		}
		if err != nil {
			return nil, err
		}
		files[e.Name()], all = c, append(all, r)
	}
	f.files = files
	return all, nil
}

// Standing says what client certificates are checked against, and what is wrong
// with that: a file that cannot be read, or lists and responses that have ended.
// Both are "" where nothing is checked.
func (c *Certificates) Standing(now time.Time) (note, problem string) {
	known, err := c.revocation()
	if err != nil {
		return "", err.Error()
	}
	var notes, problems []string
	for _, of := range []struct {
		what, file string
		on         bool
		until      []time.Time
	}{{"revocation lists", c.o.CRLFile, known.byList, known.listEnds()}, {"OCSP responses", c.o.OCSPDir, known.byOCSP, known.responses.ends()}} {
		if !of.on {
			continue
		}
		ended := 0
		for _, at := range of.until {
			if !now.Before(at) {
				ended++
			}
		}
		text := fmt.Sprintf("%d %s", len(of.until), of.what)
		if len(of.until) > 0 {
			text += ", the first ends on " + slices.MinFunc(of.until, time.Time.Compare).UTC().Format(time.RFC3339)
		}
		notes = append(notes, text)
		if ended > 0 || len(of.until) == 0 {
			problems = append(problems, fmt.Sprintf("%d of %d %s in %s ended; bring newer ones", ended, len(of.until), of.what, of.file))
		}
	}
	return strings.Join(notes, "; "), strings.Join(problems, "; ")
}

func (k revocation) listEnds() (ends []time.Time) {
	for _, l := range k.lists {
		ends = append(ends, l.NextUpdate)
	}
	return ends
}

func (all responses) ends() (ends []time.Time) {
	for _, r := range all {
		ends = append(ends, r.NextUpdate)
	}
	return ends
}
