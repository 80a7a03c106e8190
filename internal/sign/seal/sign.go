package seal

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekorpb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bonded-dev/bonded/internal/trust/ca"
)

// MediaType is that of the bundles that are made, and the artifact type of the
// manifests that carry them.
const MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

const payloadType = "application/vnd.in-toto+json"

// spare is how long before its end a certificate is used no more: the timestamp
// must lie within its life.
const spare = 2 * time.Minute

// ephemeral is a key that lives as long as its certificate.
type ephemeral struct {
	signer *ecdsa.PrivateKey
	cert   *x509.Certificate
}

// Made is what came back of a signature.
type Made struct {
	Bundle []byte
	Index  int64 // of the entry in the transparency log
}

// Sign signs what p permits and has it timestamped and logged. The permit is used
// up, whatever comes of it. Errors match ErrUsed or ErrNotIntended where those
// are why.
func (s *Signer) Sign(ctx context.Context, p *Permit) (*Made, error) {
	if err := p.take(); err != nil {
		return nil, err
	}
	key, err := s.current(ctx)
	if err != nil {
		return nil, fmt.Errorf("signing %s: asking for a certificate: %w", p.digest, err)
	}
	sum := sha256.Sum256(dsse.PAE(payloadType, p.statement))
	sig, err := key.signer.Sign(s.o.Rand, sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", p.digest, err)
	}
	stamp, err := s.stamp(ctx, sig)
	if err != nil {
		return nil, fmt.Errorf("signing %s: asking for a timestamp: %w", p.digest, err)
	}
	entry, err := s.o.Log.Add(ctx, &rekorpb.HashedRekordRequestV002{Digest: sum[:], Signature: &rekorpb.Signature{
		Content: sig, Verifier: &rekorpb.Verifier{
			KeyDetails: protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256,
			Verifier:   &rekorpb.Verifier_X509Certificate{X509Certificate: &protocommon.X509Certificate{RawBytes: key.cert.Raw}},
		},
	}})
	if err != nil {
		return nil, fmt.Errorf("signing %s: logging the signature: %w", p.digest, err)
	}
	b, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: MediaType,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: key.cert.Raw}},
			TlogEntries: []*protorekor.TransparencyLogEntry{entry},
			TimestampVerificationData: &protobundle.TimestampVerificationData{
				Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp}},
			},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: p.statement, PayloadType: payloadType, Signatures: []*protodsse.Signature{{Sig: sig}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("signing %s: writing the bundle: %v", p.digest, err)
	}
	return &Made{Bundle: b, Index: entry.LogIndex}, nil
}

// current returns the key whose certificate is good for a while, making one
// where there is none.
func (s *Signer) current(ctx context.Context) (*ephemeral, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil && s.o.Clock().Before(s.key.cert.NotAfter.Add(-spare)) && !s.o.Clock().Before(s.key.cert.NotBefore) {
		return s.key, nil
	}
	s.key = nil
	signer, err := ecdsa.GenerateKey(elliptic.P256(), s.o.Rand)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, err
	}
	proof := sha256.Sum256([]byte(s.o.Identity))
	possession, err := signer.Sign(s.o.Rand, proof[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	token, err := s.o.Token(ctx)
	if err != nil {
		return nil, err
	}
	chain, err := s.o.CA.Issue(ctx, ca.Request{Token: token, Key: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), Proof: possession})
	if err != nil {
		return nil, err
	}
	if !signer.PublicKey.Equal(chain[0].PublicKey) {
		return nil, errors.New("the certificate is over another key")
	}
	s.key = &ephemeral{signer: signer, cert: chain[0]}
	return s.key, nil
}

// Forget lets go of the key: the next signature is by another, with a
// certificate of its own.
func (s *Signer) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = nil
}

// stamp returns a TimeStampResp over a signature.
func (s *Signer) stamp(ctx context.Context, sig []byte) ([]byte, error) {
	var nonce [8]byte
	if _, err := s.o.Rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	req, err := timestamp.CreateRequest(bytes.NewReader(sig), &timestamp.RequestOptions{Hash: crypto.SHA256, Certificates: true, Nonce: new(big.Int).SetBytes(nonce[:])})
	if err != nil {
		return nil, err
	}
	return s.o.TSA.Timestamp(ctx, req)
}
