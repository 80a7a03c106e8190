// Package ct is the certificate transparency log (RFC 6962) of the certificates
// that our own authority issues: it promises, in each of them, that everybody
// can find it (c2sp.org/static-ct-api).
package ct

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	ct "github.com/google/certificate-transparency-go"
	cttls "github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Errors that callers may test for.
var (
	// ErrChain: a chain that is none, or not of this instance's authority.
	ErrChain = errors.New("not a chain that this log takes")
	// ErrKey: a key that cannot sign certificate timestamps.
	ErrKey = errors.New("a CT log signs with ECDSA P-256")
)

const (
	maxChain = 8       // certificates
	maxCert  = 1 << 16 // bytes of one
)

// Adder appends to the log; tlog.Log does, with the layout StaticCT.
type Adder interface {
	AddAt(ctx context.Context, make func(index int64) (tlog.Entry, error)) (tlog.Added, error)
}

// Options are what a Log works with.
type Options struct {
	Adder Adder
	// Source is where the same log is read.
	Source tlog.Source
	// Key signs the promises: the one that signs the log's checkpoints. Log.Rekey
	// replaces it.
	Key crypto.Signer
	// Authorities returns all certificates that ever signed what is logged, and
	// what is above them.
	Authorities func() []*x509.Certificate
	Clock       func() time.Time
}

// Log takes precertificates. It is safe for concurrent use.
type Log struct {
	o   Options
	now atomic.Pointer[promiser]
}

// promiser is a key that promises.
type promiser struct {
	key crypto.Signer
	id  [sha256.Size]byte // RFC 6962, 3.2: the hash of the key
}

// New returns a log. Errors match ErrKey.
func New(o Options) (*Log, error) {
	l := &Log{o: o}
	if err := l.Rekey(o.Key); err != nil {
		return nil, fmt.Errorf("opening the CT log: %w", err)
	}
	return l, nil
}

// Rekey lets another key promise from now on. Errors match ErrKey.
func (l *Log) Rekey(key crypto.Signer) error {
	pub, ok := key.Public().(*ecdsa.PublicKey)
	if !ok {
		return fmt.Errorf("%w, and this is %T", ErrKey, key.Public())
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrKey, err)
	}
	l.now.Store(&promiser{key, sha256.Sum256(spki)})
	return nil
}

// AddPreChain logs a precertificate with its chain, in DER, and returns once
// the entry has its place for good: the SignedCertificateTimestamp (RFC 6962,
// 3.2) in TLS encoding. Errors match ErrChain, or are those of tlog.Log.Add.
func (l *Log) AddPreChain(ctx context.Context, chain [][]byte) ([]byte, error) {
	certs, err := l.parse(chain)
	if err != nil {
		return nil, fmt.Errorf("logging a precertificate: %w", err)
	}
	at := uint64(l.o.Clock().UnixMilli())
	leaf, err := ct.MerkleTreeLeafFromChain(certs, ct.PrecertLogEntryType, at)
	if err != nil {
		return nil, fmt.Errorf("logging a precertificate: %w: %v", ErrChain, err)
	}
	added, err := l.o.Adder.AddAt(ctx, func(index int64) (tlog.Entry, error) {
		leaf.TimestampedEntry.Extensions = leafIndex(index)
		return entry(leaf.TimestampedEntry, chain)
	})
	if err != nil {
		return nil, fmt.Errorf("logging a precertificate: %w", err)
	}
	leaf.TimestampedEntry.Extensions = leafIndex(added.Index)
	return l.promise(leaf)
}

// parse reads a chain and checks that it is a precertificate of an authority of
// ours with what is above it: a log of others' certificates is not ours to run.
func (l *Log) parse(chain [][]byte) ([]*ctx509.Certificate, error) {
	if len(chain) < 2 || len(chain) > maxChain {
		return nil, fmt.Errorf("%w: it has %d certificates, and may have 2 to %d", ErrChain, len(chain), maxChain)
	}
	var certs []*ctx509.Certificate
	for i, der := range chain {
		if len(der) > maxCert {
			return nil, fmt.Errorf("%w: certificate %d has %d bytes, and may have %d", ErrChain, i, len(der), maxCert)
		}
		c, err := ctx509.ParseCertificate(der)
		if ctx509.IsFatal(err) {
			return nil, fmt.Errorf("%w: certificate %d: %v", ErrChain, i, err)
		}
		certs = append(certs, c)
	}
	if !certs[0].IsPrecertificate() {
		return nil, fmt.Errorf("%w: the first is no precertificate", ErrChain)
	}
	known := l.o.Authorities()
	for i, c := range certs[1:] {
		if !slices.ContainsFunc(known, func(k *x509.Certificate) bool { return slices.Equal(k.Raw, c.Raw) }) {
			return nil, fmt.Errorf("%w: %q is no authority of this instance", ErrChain, c.Subject.CommonName)
		}
		if err := certs[i].CheckSignatureFrom(c); err != nil {
			return nil, fmt.Errorf("%w: certificate %d is not signed by the next one: %v", ErrChain, i, err)
		}
	}
	return certs, nil
}

// leafIndex is the extension that says where an entry is: "an extension of type
// leaf_index (0), containing the zero-based leaf index of the entry in the log,
// encoded as a big-endian 40-bit integer" (static-ct-api, SCT Extension).
func leafIndex(index int64) ct.CTExtensions {
	b := binary.BigEndian.AppendUint64(nil, uint64(index))
	return append([]byte{0, 0, 5}, b[3:]...)
}

// entry is a TileLeaf: the TimestampedEntry, the precertificate, and the
// fingerprints of the chain above it.
func entry(e *ct.TimestampedEntry, chain [][]byte) (tlog.Entry, error) {
	b, err := cttls.Marshal(*e)
	if err != nil {
		return tlog.Entry{}, fmt.Errorf("encoding a log entry: %v", err)
	}
	size := len(chain[0])
	b = append(b, byte(size>>16), byte(size>>8), byte(size))
	b = append(b, chain[0]...)
	b = binary.BigEndian.AppendUint16(b, uint16(sha256.Size*(len(chain)-1)))
	for _, der := range chain[1:] {
		sum := sha256.Sum256(der)
		b = append(b, sum[:]...)
	}
	// It is read again by who will read it later, for its hash.
	read, err := tlog.StaticCT.Split(b, 1)
	if err != nil {
		return tlog.Entry{}, err
	}
	return tlog.Entry{Bundle: b, Leaf: read[0].Leaf}, nil
}

// promise signs that an entry is in the log.
func (l *Log) promise(leaf *ct.MerkleTreeLeaf) ([]byte, error) {
	e, by := leaf.TimestampedEntry, l.now.Load()
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: by.id}, Timestamp: e.Timestamp, Extensions: e.Extensions}
	b, err := ct.SerializeSCTSignatureInput(sct, ct.LogEntry{Leaf: *leaf})
	if err != nil {
		return nil, fmt.Errorf("encoding a certificate timestamp: %v", err)
	}
	sum := sha256.Sum256(b)
	sig, err := by.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate timestamp: %v", err)
	}
	sct.Signature = ct.DigitallySigned{Algorithm: cttls.SignatureAndHashAlgorithm{Hash: cttls.SHA256, Signature: cttls.ECDSA}, Signature: sig}
	b, err = cttls.Marshal(sct)
	if err != nil {
		return nil, fmt.Errorf("encoding a certificate timestamp: %v", err)
	}
	return b, nil
}
