package tlog

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// ErrSignature is returned for a note that the key it is checked with did not sign.
var ErrSignature = errors.New("not signed by the expected key")

// Types of keys and signatures of notes: c2sp.org/signed-note.
const (
	typeEd25519     = 1
	typeCosignature = 4
	typeRFC6962     = 5
)

// key is a note.Signer or note.Verifier.
type key struct {
	name   string
	id     uint32
	vkey   string
	sign   func(msg []byte) ([]byte, error)
	verify func(msg, sig []byte) bool
}

func (k *key) Name() string                    { return k.name }
func (k *key) KeyHash() uint32                 { return k.id }
func (k *key) Sign(msg []byte) ([]byte, error) { return k.sign(msg) }
func (k *key) Verify(msg, sig []byte) bool     { return k.verify(msg, sig) }

// String is the key as text, NAME+ID+KEY: public, for configuration.
func (k *key) String() string { return k.vkey }

// newKey makes a key of its name and type. material is what its text carries,
// identity what its ID is made from.
func newKey(name string, kind byte, material, identity []byte) (*key, error) {
	if name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsSpace) || strings.Contains(name, "+") {
		return nil, fmt.Errorf("%w: %.80q is no name of a key: it has no spaces and no +", ErrMalformed, name)
	}
	sum := sha256.Sum256(append(append([]byte(name+"\n"), kind), identity...))
	k := &key{name: name, id: binary.BigEndian.Uint32(sum[:])}
	k.vkey = fmt.Sprintf("%s+%08x+%s", name, k.id, base64.StdEncoding.EncodeToString(append([]byte{kind}, material...)))
	return k, nil
}

// Ed25519Verifier checks the plain signatures of a log.
func Ed25519Verifier(name string, pub ed25519.PublicKey) (note.Verifier, error) {
	return ed25519Key(name, pub)
}

func ed25519Key(name string, pub ed25519.PublicKey) (*key, error) {
	k, err := newKey(name, typeEd25519, pub, pub)
	if err != nil {
		return nil, err
	}
	k.verify = func(msg, sig []byte) bool { return len(sig) == ed25519.SignatureSize && ed25519.Verify(pub, msg, sig) }
	return k, nil
}

// NewEd25519Signer signs checkpoints with an Ed25519 key, wherever that is.
func NewEd25519Signer(name string, s crypto.Signer) (note.Signer, error) {
	pub, err := ed25519Public(name, s)
	if err != nil {
		return nil, err
	}
	k, err := ed25519Key(name, pub)
	if err != nil {
		return nil, err
	}
	k.sign = func(msg []byte) ([]byte, error) { return s.Sign(rand.Reader, msg, crypto.Hash(0)) }
	return k, nil
}

func ed25519Public(name string, s crypto.Signer) (ed25519.PublicKey, error) {
	pub, ok := s.Public().(ed25519.PublicKey)
	if !ok || len(pub) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("the key of %s is %T, and this signature needs Ed25519", name, s.Public())
	}
	return pub, nil
}

// CosignatureVerifier checks cosignature/v1 of a witness: c2sp.org/tlog-cosignature.
func CosignatureVerifier(name string, pub ed25519.PublicKey) (note.Verifier, error) {
	return cosignatureKey(name, pub)
}

func cosignatureKey(name string, pub ed25519.PublicKey) (*key, error) {
	k, err := newKey(name, typeCosignature, pub, pub)
	if err != nil {
		return nil, err
	}
	k.verify = func(msg, sig []byte) bool {
		t, ok := cosignatureTime(sig)
		return ok && ed25519.Verify(pub, cosigned(t, msg), sig[8:])
	}
	return k, nil
}

// NewCosigner signs cosignature/v1 with an Ed25519 key that signs nothing else.
func NewCosigner(name string, s crypto.Signer, clock func() time.Time) (note.Signer, error) {
	pub, err := ed25519Public(name, s)
	if err != nil {
		return nil, err
	}
	k, err := cosignatureKey(name, pub)
	if err != nil {
		return nil, err
	}
	k.sign = func(msg []byte) ([]byte, error) {
		t := clock().Unix()
		sig, err := s.Sign(rand.Reader, cosigned(t, msg), crypto.Hash(0))
		if err != nil {
			return nil, err
		}
		return append(binary.BigEndian.AppendUint64(nil, uint64(t)), sig...), nil
	}
	return k, nil
}

// cosigned is the message of a cosignature: two lines before the checkpoint.
func cosigned(t int64, msg []byte) []byte {
	return append([]byte("cosignature/v1\ntime "+strconv.FormatInt(t, 10)+"\n"), msg...)
}

// cosignatureTime is the time in a cosignature, in seconds, if it has the form of one.
func cosignatureTime(sig []byte) (int64, bool) {
	if len(sig) != 8+ed25519.SignatureSize {
		return 0, false
	}
	t := binary.BigEndian.Uint64(sig)
	return int64(t), t < 1<<63
}

// RFC6962Verifier checks checkpoints of CT logs: the signature of a tree head
// that RFC 6962 defines, as c2sp.org/static-ct-api carries it.
func RFC6962Verifier(name string, pub *ecdsa.PublicKey) (note.Verifier, error) {
	return rfc6962Key(name, pub)
}

func rfc6962Key(name string, pub *ecdsa.PublicKey) (*key, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of %s: %w", name, err)
	}
	id := sha256.Sum256(spki)
	k, err := newKey(name, typeRFC6962, spki, id[:])
	if err != nil {
		return nil, err
	}
	k.verify = func(msg, sig []byte) bool {
		// timestamp, SHA-256, ECDSA, the length, the signature
		if len(sig) < 12 || sig[8] != 4 || sig[9] != 3 || int(binary.BigEndian.Uint16(sig[10:])) != len(sig)-12 {
			return false
		}
		sum, err := treeHead(name, binary.BigEndian.Uint64(sig), msg)
		return err == nil && ecdsa.VerifyASN1(pub, sum[:], sig[12:])
	}
	return k, nil
}

// NewRFC6962Signer signs checkpoints of a CT log with an ECDSA key.
func NewRFC6962Signer(name string, s crypto.Signer, clock func() time.Time) (note.Signer, error) {
	pub, ok := s.Public().(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key of %s is %T, and a CT log needs ECDSA", name, s.Public())
	}
	k, err := rfc6962Key(name, pub)
	if err != nil {
		return nil, err
	}
	k.sign = func(msg []byte) ([]byte, error) {
		t := uint64(clock().UnixMilli())
		sum, err := treeHead(name, t, msg)
		if err != nil {
			return nil, err
		}
		sig, err := s.Sign(rand.Reader, sum[:], crypto.SHA256)
		if err != nil {
			return nil, err
		}
		b := append(binary.BigEndian.AppendUint64(nil, t), 4, 3)
		return append(binary.BigEndian.AppendUint16(b, uint16(len(sig))), sig...), nil
	}
	return k, nil
}

// treeHead is the hash of the TreeHeadSignature of RFC 6962, section 3.5: version
// v1, tree_hash, timestamp, size, root. "A checkpoint signed with this algorithm
// MUST NOT include any extension lines", as they are not in there.
func treeHead(name string, t uint64, msg []byte) (sum [sha256.Size]byte, err error) {
	c, err := ParseCheckpoint(string(msg))
	if err != nil {
		return sum, err
	}
	if c.Origin != name || c.Text() != string(msg) {
		return sum, fmt.Errorf("%w: the checkpoint has another origin than its key, or extension lines", ErrMalformed)
	}
	b := binary.BigEndian.AppendUint64([]byte{0, 1}, t)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Size))
	return sha256.Sum256(append(b, c.Root[:]...)), nil
}

// ParseVerifier reads a key as text, NAME+ID+KEY, of a log (Ed25519 or RFC 6962)
// or of a witness (cosignature/v1). Errors match ErrMalformed.
func ParseVerifier(s string) (note.Verifier, error) {
	name, rest, _ := strings.Cut(s, "+")
	_, encoded, _ := strings.Cut(rest, "+")
	b, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(b) == 0 || len(s) > 1000 {
		return nil, fmt.Errorf("%w: %.80q is no verifier key, which is NAME+ID+KEY", ErrMalformed, s)
	}
	k, err := parseKey(name, b[0], b[1:])
	if err != nil {
		return nil, err
	}
	if k.vkey != s {
		return nil, fmt.Errorf("%w: the verifier key %.80q has not the ID of its name and key", ErrMalformed, s)
	}
	return k, nil
}

func parseKey(name string, kind byte, material []byte) (*key, error) {
	switch {
	case kind == typeEd25519 && len(material) == ed25519.PublicKeySize:
		return ed25519Key(name, material)
	case kind == typeCosignature && len(material) == ed25519.PublicKeySize:
		return cosignatureKey(name, material)
	case kind == typeRFC6962:
		pub, err := x509.ParsePKIXPublicKey(material)
		if ec, ok := pub.(*ecdsa.PublicKey); err == nil && ok {
			return rfc6962Key(name, ec)
		}
	}
	return nil, fmt.Errorf("%w: the verifier key of %.80q is of type %d with %d bytes; known are Ed25519 (1), cosignatures (4) and RFC 6962 with ECDSA (5)",
		ErrMalformed, name, kind, len(material))
}

// openNote verifies a note by at least one of the verifiers. Signatures of others
// are ignored. Errors match ErrSignature or ErrMalformed.
func openNote(signed []byte, vs ...note.Verifier) (*note.Note, error) {
	if len(signed) > maxNote {
		return nil, fmt.Errorf("%w: a signed checkpoint of %d bytes, over the limit of %d", ErrMalformed, len(signed), maxNote)
	}
	n, err := note.Open(signed, note.VerifierList(vs...))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case err == nil:
		return n, nil
	case errors.As(err, &unverified):
		return nil, fmt.Errorf("%w: the note has signatures of %s only", ErrSignature, names(unverified.Note.UnverifiedSigs))
	case errors.As(err, &invalid):
		return nil, fmt.Errorf("%w: the signature under the name %.80q is wrong", ErrSignature, invalid.Name)
	}
	return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
}

func names(sigs []note.Signature) string {
	var all []string
	for _, s := range sigs[:min(len(sigs), 4)] {
		all = append(all, fmt.Sprintf("%.80q", s.Name))
	}
	return strings.Join(all, ", ")
}
