package authn

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"io"
	"strings"

	"github.com/bonded-dev/bonded/internal/authz"
)

// codeAlphabet has 32 characters, none of which looks like another: no I, O, 0
// and 1.
const codeAlphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"

// codeLen characters of it are 40 bits. A code lives for minutes and attempts
// are limited to about one a second, so that guessing one takes ages.
const codeLen = 8

// newCode returns a one-time code such as "KX4P-9QTM".
func newCode(random io.Reader) (string, error) {
	var b [codeLen]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %v", err)
	}
	for i := range b {
		b[i] = codeAlphabet[b[i]%32] // 256 is a multiple of 32: no character is likelier
	}
	return string(b[:codeLen/2]) + "-" + string(b[codeLen/2:]), nil
}

// hashCode is what is kept of a code. Case, spaces and dashes do not count.
func hashCode(code string) [32]byte {
	return sha256.Sum256([]byte(strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToUpper(code))))
}

// Lengths of the parts of a secret in characters of base 32: 60 public bits that
// find it, 256 that are secret.
const (
	idLen    = 12
	randLen  = 52
	prefix   = "bnd_" // lets scanners for leaked secrets know one
	maxInput = 512    // bytes of any name, secret or code that is looked at
)

var encoding = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// newSecret returns a secret "bnd_ID_RANDOM", its public id and its hash.
func newSecret(random io.Reader) (secret, id string, hash [32]byte, err error) {
	var b [8 + 32]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", "", hash, fmt.Errorf("reading randomness: %v", err)
	}
	id = encoding.EncodeToString(b[:8])[:idLen]
	secret = prefix + id + "_" + encoding.EncodeToString(b[8:])
	return secret, id, sha256.Sum256([]byte(secret)), nil
}

// idOf returns the public part of something formed like a secret.
func idOf(secret string) (string, bool) {
	rest, ok := strings.CutPrefix(secret, prefix)
	id, random, two := strings.Cut(rest, "_")
	return id, ok && two && len(id) == idLen && len(random) == randLen
}

// matches reports, in a time that tells nothing, whether a secret is the one
// that t was made with.
func (t *Token) matches(secret string) bool {
	got := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(got[:], t.Hash[:]) == 1
}

// wrong is the one answer about names and secrets that do not belong together,
// whatever of them is wrong.
func wrong() error {
	return fmt.Errorf("%w: the name or the secret is wrong; ask for a new code: bonded principal invite", authz.ErrUnauthenticated)
}
