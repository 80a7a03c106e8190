package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	trustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Where the services are below the server's URL. Clients find them in the
// signing configuration.
const (
	PathOIDC   = "/oidc"
	PathFulcio = "/fulcio"
	PathRekor  = "/rekor"
	PathCT     = "/ct"
	PathTSA    = "/tsa"
	PathTUF    = "/tuf"
	// PathNotation is where certificates for Notation are given.
	PathNotation = "/notation"
	// PathTimestamp is where the timestamp authority takes requests.
	PathTimestamp = PathTSA + "/api/v1/timestamp"
)

// The names by which clients ask the TUF repository for the documents; they
// are fixed.
const (
	TrustedRootName   = "trusted_root.json"
	SigningConfigName = "signing_config.v0.2.json"
)

const (
	trustedRootType   = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
	signingConfigType = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
)

// TrustedRoot returns trusted_root.json: all that signatures of this instance
// are verified by, old keys with the time they were good for. The same state
// gives the same bytes, wherever the server is: its URLs are names, and those that
// clients connect to are in the signing configuration.
func (i *Instance) TrustedRoot() ([]byte, error) {
	st := i.now.Load()
	tr := &trustroot.TrustedRoot{MediaType: trustedRootType}
	for _, c := range st.authorities {
		tr.CertificateAuthorities = append(tr.CertificateAuthorities, i.authority(PathFulcio, c))
	}
	for _, c := range st.timestampers {
		tr.TimestampAuthorities = append(tr.TimestampAuthorities, i.authority(PathTimestamp, c))
	}
	for _, l := range st.rec.Logs {
		switch l.Slot {
		case LogRekor:
			id, err := CheckpointKeyID(i.o.Origin, l.SPKI)
			if err != nil {
				return nil, err
			}
			tr.Tlogs = append(tr.Tlogs, log(i.rekorBase(), l, id[:], common.PublicKeyDetails_PKIX_ED25519))
		case LogCT:
			id := sha256.Sum256(l.SPKI) // RFC 6962, 3.2
			tr.Ctlogs = append(tr.Ctlogs, log(i.Server()+PathCT, l, id[:], common.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256))
		}
	}
	return encode(tr)
}

// SigningConfig returns signing_config.v0.2.json: where clients sign.
func (i *Instance) SigningConfig() ([]byte, error) {
	one := func(path string, version uint32) []*trustroot.Service {
		return []*trustroot.Service{{
			Url: i.o.URL + path, MajorApiVersion: version, Operator: i.o.Origin,
			ValidFor: &common.TimeRange{Start: timestamppb.New(i.now.Load().rec.Made)},
		}}
	}
	anyOf := func() *trustroot.ServiceConfiguration {
		return &trustroot.ServiceConfiguration{Selector: trustroot.ServiceSelector_ANY}
	}
	return encode(&trustroot.SigningConfig{
		MediaType:       signingConfigType,
		CaUrls:          one(PathFulcio, 1),
		OidcUrls:        one(PathOIDC, 1),
		RekorTlogUrls:   one(PathRekor, 2),
		RekorTlogConfig: anyOf(),
		TsaUrls:         one(PathTimestamp, 1),
		TsaConfig:       anyOf(),
	})
}

// rekorBase is the URL of the transparency log in the trusted root. Its host
// name must be the origin: sigstore-go takes it for the checkpoint's, and never
// connects to it.
func (i *Instance) rekorBase() string {
	if u, err := url.Parse(i.Server()); err == nil && u.Hostname() == i.o.Origin {
		return i.Server() + PathRekor
	}
	return "https://" + i.o.Origin + PathRekor
}

// CheckpointKeyID is the ID of an Ed25519 log key: the whole hash of which a
// signed note shows the first four bytes (C2SP signed-note). spki is DER.
func CheckpointKeyID(origin string, spki []byte) ([sha256.Size]byte, error) {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil || !ed25519Key.fits(pub) {
		return [sha256.Size]byte{}, fmt.Errorf("hashing the key of log %s: %w: it is not Ed25519", origin, ErrUnusable)
	}
	// The key is what ends the SPKI of Ed25519 (RFC 8410, 4).
	return sha256.Sum256(append([]byte(origin+"\n\x01"), spki[len(spki)-32:]...)), nil
}

func (i *Instance) authority(path string, c Chain) *trustroot.CertificateAuthority {
	first := c.Certs[0].Subject
	ca := &trustroot.CertificateAuthority{
		Subject:   &common.DistinguishedName{CommonName: first.CommonName},
		Uri:       i.Server() + path,
		CertChain: &common.X509CertificateChain{},
		ValidFor:  during(c.From, c.Until),
		Operator:  i.o.Origin,
	}
	if len(first.Organization) > 0 {
		ca.Subject.Organization = first.Organization[0]
	}
	for _, cert := range c.Certs {
		ca.CertChain.Certificates = append(ca.CertChain.Certificates, &common.X509Certificate{RawBytes: cert.Raw})
	}
	return ca
}

func log(base string, l logRecord, id []byte, details common.PublicKeyDetails) *trustroot.TransparencyLogInstance {
	return &trustroot.TransparencyLogInstance{
		BaseUrl:       base,
		HashAlgorithm: common.HashAlgorithm_SHA2_256,
		PublicKey:     &common.PublicKey{RawBytes: l.SPKI, KeyDetails: details, ValidFor: during(l.From, l.Until)},
		LogId:         &common.LogId{KeyId: id},
	}
}

func during(from, until time.Time) *common.TimeRange {
	r := &common.TimeRange{Start: timestamppb.New(from)}
	if !until.IsZero() {
		r.End = timestamppb.New(until)
	}
	return r
}

// encode returns the JSON of a message. protojson changes its white space at
// random so that nobody relies on its bytes; we sign them, so it is set again.
func encode(m proto.Message) ([]byte, error) {
	b, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding a %s: %v", m.ProtoReflect().Descriptor().Name(), err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
