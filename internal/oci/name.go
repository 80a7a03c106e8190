package oci

import (
	"fmt"
	"regexp"
	"strings"
)

// Limits of names. MaxName is the longest repository name: the 255 characters
// that clients agree on for host and name together. Tags are limited by the
// distribution specification.
const (
	MaxName = 255
	MaxTag  = 128
)

var (
	// Distribution specification 1.1, "Pulling manifests".
	namePattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	// Of any length: with MaxTag in it, every start of the program would pay for it.
	tagPattern = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]*$`)
)

// Repository is a valid repository name such as "production/payments/api".
// Its first path segment is its zone. The zero value is no repository.
type Repository struct{ s string }

// ParseRepository checks s against the grammar of the distribution
// specification. Errors match ErrNameInvalid.
func ParseRepository(s string) (Repository, error) {
	if len(s) > MaxName {
		return Repository{}, fmt.Errorf("%w: %d characters, at most %d", ErrNameInvalid, len(s), MaxName)
	}
	if !namePattern.MatchString(s) {
		return Repository{}, fmt.Errorf("%w: %s: lower-case letters, digits and single separators . _ - / only", ErrNameInvalid, Quote(s))
	}
	return Repository{s}, nil
}

// MustRepository is ParseRepository for constants and tests.
func MustRepository(s string) Repository {
	r, err := ParseRepository(s)
	if err != nil {
		panic(err)
	}
	return r
}

// String returns the name.
func (r Repository) String() string { return r.s }

// IsZero reports whether r is no repository.
func (r Repository) IsZero() bool { return r.s == "" }

// Zone returns the first path segment.
func (r Repository) Zone() string {
	zone, _, _ := strings.Cut(r.s, "/")
	return zone
}

// Path returns what follows the zone: "payments/api" for
// "production/payments/api", "" when there is only a zone.
func (r Repository) Path() string {
	_, path, _ := strings.Cut(r.s, "/")
	return path
}

// InZone returns the repository of the same path in another zone.
func (r Repository) InZone(zone string) (Repository, error) {
	return ParseRepository(zone + "/" + r.Path())
}

// MarshalText writes String.
func (r Repository) MarshalText() ([]byte, error) { return []byte(r.s), nil }

// UnmarshalText is ParseRepository, with "" giving the zero value.
func (r *Repository) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*r = Repository{}
		return nil
	}
	p, err := ParseRepository(string(b))
	if err != nil {
		return err
	}
	*r = p
	return nil
}

// CheckTag reports whether s is a tag by the distribution specification.
// Errors match ErrTagInvalid.
func CheckTag(s string) error {
	if len(s) > MaxTag || !tagPattern.MatchString(s) {
		return fmt.Errorf("%w: %s: letters, digits and . _ - only, at most %d, not starting with . or -", ErrTagInvalid, Quote(s), MaxTag)
	}
	return nil
}

// Reference names a manifest inside a registry: a repository and a tag or a
// digest or both. With both, the digest is what counts.
type Reference struct {
	Repository Repository
	Tag        string // "" when named by digest alone
	Digest     Digest // zero when named by tag alone
}

// ParseReference reads "repository[:tag][@digest]" without a registry host.
// Without tag and digest the tag is "latest".
func ParseReference(s string) (Reference, error) {
	var ref Reference
	var err error
	name, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		if ref.Digest, err = ParseDigest(digest); err != nil {
			return Reference{}, fmt.Errorf("reading reference %s: %w", Quote(s), err)
		}
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		ref.Tag = name[i+1:]
		name = name[:i]
		if err = CheckTag(ref.Tag); err != nil {
			return Reference{}, fmt.Errorf("reading reference %s: %w", Quote(s), err)
		}
	}
	if ref.Repository, err = ParseRepository(name); err != nil {
		return Reference{}, fmt.Errorf("reading reference %s: %w", Quote(s), err)
	}
	if ref.Tag == "" && !hasDigest {
		ref.Tag = "latest"
	}
	return ref, nil
}

// String returns "repository:tag@digest" with the parts that are there.
func (r Reference) String() string {
	s := r.Repository.String()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if !r.Digest.IsZero() {
		s += "@" + r.Digest.String()
	}
	return s
}
