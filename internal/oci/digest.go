// Package oci holds the nouns of the OCI specifications: digests, names,
// references, descriptors, manifests and image configurations.
//
// Foreign bytes are parsed here once, under limits, into comparable typed
// values; no package further inside carries a digest or a repository name as a
// string. Nothing here does I/O. The formats are those of
// https://github.com/opencontainers/image-spec (v1.1) and
// https://github.com/opencontainers/distribution-spec (v1.1).
package oci

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
)

// Algorithm is a digest algorithm that OCI registers and Bonded accepts.
type Algorithm string

// The registered algorithms. SHA256 is what everyone uses; SHA512 is optional
// in the image specification and accepted everywhere here.
const (
	SHA256 Algorithm = "sha256"
	SHA512 Algorithm = "sha512"
)

// Errors of parsing names and digests. Callers map them to the OCI codes
// DIGEST_INVALID, NAME_INVALID and TAG_INVALID.
var (
	ErrDigestInvalid = errors.New("not a valid digest")
	ErrNameInvalid   = errors.New("not a valid repository name")
	ErrTagInvalid    = errors.New("not a valid tag")
)

// New returns a fresh hash of the algorithm. Its state can be saved with
// encoding.BinaryMarshaler. It panics for an unknown algorithm, which
// ParseDigest never lets in.
func (a Algorithm) New() hash.Hash {
	switch a {
	case SHA256:
		return sha256.New()
	case SHA512:
		return sha512.New()
	}
	panic("oci: unknown digest algorithm " + string(a))
}

// hexLen is the length of the algorithm's hex form, 0 when unknown.
func (a Algorithm) hexLen() int {
	switch a {
	case SHA256:
		return 2 * sha256.Size
	case SHA512:
		return 2 * sha512.Size
	}
	return 0
}

// Digest is the content address "algorithm:hex" of some bytes. The zero value
// means "no digest" and is not valid on any wire. Digests are comparable.
type Digest struct{ s string }

// ParseDigest reads "algorithm:hex" with a known algorithm and lower-case hex
// of the right length. Errors match ErrDigestInvalid.
func ParseDigest(s string) (Digest, error) {
	alg, hexed, ok := strings.Cut(s, ":")
	n := Algorithm(alg).hexLen()
	switch {
	case !ok:
		return Digest{}, fmt.Errorf("%w: %s has no colon, want algorithm:hex", ErrDigestInvalid, Quote(s))
	case n == 0:
		return Digest{}, fmt.Errorf("%w: algorithm %s, want sha256 or sha512", ErrDigestInvalid, Quote(alg))
	case len(hexed) != n:
		return Digest{}, fmt.Errorf("%w: %s has %d hex characters, want %d", ErrDigestInvalid, Quote(s), len(hexed), n)
	}
	for i := range len(hexed) {
		if c := hexed[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Digest{}, fmt.Errorf("%w: %s is not lower-case hex", ErrDigestInvalid, Quote(s))
		}
	}
	return Digest{s}, nil
}

// MustDigest is ParseDigest for constants and tests; it panics on error.
func MustDigest(s string) Digest {
	d, err := ParseDigest(s)
	if err != nil {
		panic(err)
	}
	return d
}

// FromBytes returns the SHA-256 digest of b.
func FromBytes(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest{string(SHA256) + ":" + hex.EncodeToString(sum[:])}
}

// DigestOf returns the digest of b under the algorithm.
func (a Algorithm) DigestOf(b []byte) Digest {
	h := a.New()
	h.Write(b)
	return a.FromHash(h)
}

// FromHash returns the digest of what was written to h, a hash of this algorithm.
func (a Algorithm) FromHash(h hash.Hash) Digest {
	return Digest{string(a) + ":" + hex.EncodeToString(h.Sum(nil))}
}

// Algorithm returns the part before the colon, "" for the zero Digest.
func (d Digest) Algorithm() Algorithm {
	alg, _, _ := strings.Cut(d.s, ":")
	return Algorithm(alg)
}

// Hex returns the part after the colon, "" for the zero Digest.
func (d Digest) Hex() string {
	_, hexed, _ := strings.Cut(d.s, ":")
	return hexed
}

// String returns "algorithm:hex", "" for the zero Digest.
func (d Digest) String() string { return d.s }

// Short returns the form for eyes, "sha256:9c1e…41f7". Never use it in JSON.
func (d Digest) Short() string {
	h := d.Hex()
	if len(h) < 8 {
		return d.s
	}
	return string(d.Algorithm()) + ":" + h[:4] + "…" + h[len(h)-4:]
}

// IsZero reports whether d is the zero Digest.
func (d Digest) IsZero() bool { return d.s == "" }

var (
	_ encoding.TextMarshaler   = Digest{}
	_ encoding.TextUnmarshaler = (*Digest)(nil)
)

// MarshalText writes String.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.s), nil }

// UnmarshalText is ParseDigest, with "" giving the zero Digest.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Digest{}
		return nil
	}
	p, err := ParseDigest(string(b))
	if err != nil {
		return err
	}
	*d = p
	return nil
}

// Quote returns s in Go quotes, cut to 100 bytes, for error messages about
// foreign input.
func Quote(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%.100q…", s)
	}
	return fmt.Sprintf("%q", s)
}
