// Package verifytest is a Sigstore instance for tests: keys, a certificate
// authority, a CT log, a transparency log of each generation and a timestamp
// authority, all in memory and at any hour, so that bundles can be made and
// broken freely.
package verifytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	prototrust "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	rekornote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Noon is when everything happens that is not told another time.
var Noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// Instance is one Sigstore. Its parts are there to be used wrongly.
type Instance struct {
	t      testing.TB
	Origin string // host name of both logs

	Root, CA *Certificate // P-256; CA is the intermediate that issues
	TSA      *Certificate // under Root
	Rekor    ed25519.PrivateKey
	Rekor1   *ecdsa.PrivateKey // of the older log, which promises
	CT       *ecdsa.PrivateKey

	hashes hashes // of the log's tree
	size   int64
}

// Certificate is a certificate with its key.
type Certificate struct {
	*x509.Certificate
	Key crypto.Signer
}

// New returns an instance whose logs are those of origin.
func New(t testing.TB, origin string) *Instance {
	t.Helper()
	i := &Instance{t: t, Origin: origin}
	i.Root = i.Issue(nil, &x509.Certificate{Subject: pkix.Name{CommonName: "root of " + origin}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign})
	i.CA = i.Issue(i.Root, &x509.Certificate{
		Subject: pkix.Name{CommonName: "intermediate of " + origin}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	})
	i.TSA = i.NewTSA()
	_, i.Rekor, _ = ed25519.GenerateKey(rand.Reader)
	i.Rekor1, i.CT = i.key(), i.key()
	for _, text := range []string{"what", "came", "before"} {
		i.append([]byte(text))
	}
	return i
}

func (i *Instance) key() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	i.must(err)
	return key
}

func (i *Instance) must(err error) {
	if err != nil {
		i.t.Helper()
		i.t.Fatal(err)
	}
}

// Issue makes a certificate under parent, or a self-signed one under nil. It is
// valid for years around Noon unless template says otherwise.
func (i *Instance) Issue(parent *Certificate, template *x509.Certificate) *Certificate {
	i.t.Helper()
	key := i.key()
	return &Certificate{Certificate: i.sign(parent, template, key.Public(), key), Key: key}
}

func (i *Instance) sign(parent *Certificate, template *x509.Certificate, public crypto.PublicKey, self crypto.Signer) *x509.Certificate {
	i.t.Helper()
	if template.SerialNumber == nil {
		serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
		i.must(err)
		template.SerialNumber = serial
	}
	if template.NotBefore.IsZero() {
		template.NotBefore, template.NotAfter = Noon.AddDate(-6, 0, 0), Noon.AddDate(14, 0, 0)
	}
	above, signer := template, self
	if parent != nil {
		above, signer = parent.Certificate, parent.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, above, public, signer)
	i.must(err)
	cert, err := x509.ParseCertificate(der)
	i.must(err)
	return cert
}

// NewTSA makes another timestamp authority under the same root. RFC 3161 wants
// its one key usage critical, which x509 cannot say.
func (i *Instance) NewTSA() *Certificate {
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	i.must(err)
	return i.Issue(i.Root, &x509.Certificate{
		Subject: pkix.Name{CommonName: "timestamps of " + i.Origin}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	})
}

// TrustedRoot returns trusted_root.json after edit, which may be nil.
func (i *Instance) TrustedRoot(edit func(*prototrust.TrustedRoot)) []byte {
	i.t.Helper()
	always := &protocommon.TimeRange{Start: timestamppb.New(Noon.AddDate(-6, 0, 0))}
	chain := func(certs ...*Certificate) *protocommon.X509CertificateChain {
		out := &protocommon.X509CertificateChain{}
		for _, c := range certs {
			out.Certificates = append(out.Certificates, &protocommon.X509Certificate{RawBytes: c.Raw})
		}
		return out
	}
	root := &prototrust.TrustedRoot{
		MediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		CertificateAuthorities: []*prototrust.CertificateAuthority{
			{Uri: "https://" + i.Origin + "/fulcio", CertChain: chain(i.CA, i.Root), ValidFor: always},
		},
		TimestampAuthorities: []*prototrust.CertificateAuthority{
			{Uri: "https://" + i.Origin + "/tsa", CertChain: chain(i.TSA, i.Root), ValidFor: always},
		},
		Tlogs: []*prototrust.TransparencyLogInstance{
			i.logInstance("/rekor", i.Rekor.Public(), i.RekorID(), protocommon.PublicKeyDetails_PKIX_ED25519),
			i.logInstance("/rekor1", i.Rekor1.Public(), i.spki(i.Rekor1.Public()), protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256),
		},
		Ctlogs: []*prototrust.TransparencyLogInstance{
			i.logInstance("/ct", i.CT.Public(), i.spki(i.CT.Public()), protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256),
		},
	}
	if edit != nil {
		edit(root)
	}
	raw, err := protojson.Marshal(root)
	i.must(err)
	return raw
}

func (i *Instance) logInstance(path string, public crypto.PublicKey, id []byte, details protocommon.PublicKeyDetails) *prototrust.TransparencyLogInstance {
	der, err := x509.MarshalPKIXPublicKey(public)
	i.must(err)
	return &prototrust.TransparencyLogInstance{
		BaseUrl: "https://" + i.Origin + path, HashAlgorithm: protocommon.HashAlgorithm_SHA2_256,
		LogId: &protocommon.LogId{KeyId: id},
		PublicKey: &protocommon.PublicKey{
			RawBytes: der, KeyDetails: details,
			ValidFor: &protocommon.TimeRange{Start: timestamppb.New(Noon.AddDate(-6, 0, 0))},
		},
	}
}

// RekorID is the log ID of the newer log.
func (i *Instance) RekorID() []byte {
	_, id, err := rekornote.KeyHash(i.Origin, i.Rekor.Public())
	i.must(err)
	return id
}

func (i *Instance) spki(public crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	i.must(err)
	sum := sha256.Sum256(der)
	return sum[:]
}

// hashes is the storage of a tree, in x/mod's order.
type hashes []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, n := range indexes {
		out[i] = h[n]
	}
	return out, nil
}

// append adds an entry and returns its index.
func (i *Instance) append(leaf []byte) int64 {
	more, err := tlog.StoredHashes(i.size, leaf, i.hashes)
	i.must(err)
	i.hashes = append(i.hashes, more...)
	i.size++
	return i.size - 1
}
