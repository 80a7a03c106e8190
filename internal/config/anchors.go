package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// Anchor is a root of trust for signatures, by the name that gates call it. Its
// files are read again when they change; one that cannot be read then makes the
// anchor answer that it cannot tell.
type Anchor struct {
	// Name is what gates call it: lower-case letters, digits and single "-", "_" or
	// "."; not "bonded", which is the server's own and always there. Needed.
	Name string `yaml:"name" json:"name"`
	// Type says what it takes: "sigstore" for certificates of a Sigstore instance
	// such as the public one, "github" for GitHub's own instance (attestations of
	// private repositories), "key" for bare public keys, "x509" for Notary Project
	// signatures. Needed.
	Type string `yaml:"type" json:"type"`
	// TrustedRoot is a trusted root that comes with the program: "public-good", of
	// the public Sigstore instance, for sigstore and key; "github", of GitHub's, for
	// github. It is as old as the program. Optional; contradicts trusted_root_file,
	// and one of the two is needed for sigstore and github.
	TrustedRoot string `yaml:"trusted_root" json:"trusted_root"`
	// TrustedRootFile is trusted_root.json of the instance, also several as JSON
	// lines: what "bonded trust refresh" keeps up to date, or "gh attestation
	// trusted-root" prints. For key it has the log and timestamp authority that log
	// and timestamp ask for. Optional; contradicts trusted_root, and not for x509.
	TrustedRootFile Path `yaml:"trusted_root_file" json:"trusted_root_file"`
	// KeyFile is a PEM file with public keys, as "cosign generate-key-pair" writes
	// them. Needed for key; not for others.
	KeyFile Path `yaml:"key_file" json:"key_file"`
	// Log demands an entry in a transparency log of a signature by a bare key.
	// Optional, for key. Default false.
	Log bool `yaml:"log" json:"log"`
	// Timestamp demands a proven time of signing of a signature by a bare key.
	// Optional, for key. Default false.
	Timestamp bool `yaml:"timestamp" json:"timestamp"`
	// CAFile is a PEM file with the authorities that certificates of signers lead
	// to. Needed for x509; not for others.
	CAFile Path `yaml:"ca_file" json:"ca_file"`
	// TSAFile is a PEM file with the authorities of timestamp authorities.
	// Optional, for x509. Default: certificates must be valid now.
	TSAFile Path `yaml:"tsa_file" json:"tsa_file"`
	// CRLFile is a file with revocation lists, in PEM, or with one in DER. A
	// certificate that names a list or a responder needs one here that is in force,
	// because no server is asked. Optional, for x509. Default: none.
	CRLFile Path `yaml:"crl_file" json:"crl_file"`
}

// OwnAnchor is the name of the anchor that is the server itself.
const OwnAnchor = "bonded"

// ShippedRoots are the trusted roots that come with the program, and the types of
// anchors that take them.
var ShippedRoots = map[string][]string{"public-good": {"sigstore", "key"}, "github": {"github"}}

// AnchorTypes are the types of anchors.
var AnchorTypes = []string{"sigstore", "github", "key", "x509"}

// Builder is a row of the table of builders: it grants a SLSA build level to
// provenance that names a builder and is signed by who speaks for it. Whether a
// builder keeps what a level demands is a judgement about the builder.
type Builder struct {
	// ID is a pattern for the builder.id of provenance. Needed.
	ID string `yaml:"id" json:"id"`
	// Anchor is the anchor that the signature must verify for. Needed.
	Anchor string `yaml:"anchor" json:"anchor"`
	// Issuer is a pattern for who vouched for the identity; its host is written
	// out. Optional.
	Issuer string `yaml:"issuer" json:"issuer"`
	// Subject is a pattern for who signed. Needed unless the anchor holds bare keys.
	Subject string `yaml:"subject" json:"subject"`
	// Key is the SHA-256 of the public key, hex, where the anchor holds several.
	// Optional.
	Key string `yaml:"key" json:"key"`
	// Claims are patterns for what the certificate says beyond that, by Fulcio's
	// names, such as runnerEnvironment. Optional.
	Claims map[string]string `yaml:"claims" json:"claims"`
	// Self demands that the provenance names as its builder the identity that
	// signed it. Optional. Default false.
	Self bool `yaml:"self" json:"self"`
	// Level is the SLSA build level, 0 to 3. Needed.
	Level int `yaml:"level" json:"level"`
}

// Patterns reads the patterns of the row.
func (b Builder) Patterns() (id evidence.Pattern, who evidence.Signer, err error) {
	who = evidence.Signer{Anchor: b.Anchor, Key: b.Key}
	for _, p := range []struct {
		to   *evidence.Pattern
		text string
	}{{&id, b.ID}, {&who.Issuer, b.Issuer}, {&who.Subject, b.Subject}} {
		if *p.to, err = evidence.ParsePattern(p.text); err != nil {
			return id, who, err
		}
	}
	for _, name := range sortedKeys(b.Claims) {
		if who.Claims == nil {
			who.Claims = map[string]evidence.Pattern{}
		}
		if who.Claims[name], err = evidence.ParsePattern(b.Claims[name]); err != nil {
			return id, who, err
		}
	}
	if id.IsZero() {
		return id, who, errors.New("id is empty, and names no builder")
	}
	return id, who, who.Validate()
}

// keyPattern is a SHA-256 in hex.
var keyPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (k *checker) anchors(c *Config) {
	at := map[string]int{}
	for i, a := range c.Anchors {
		field := fmt.Sprintf("anchors[%d]", i)
		switch {
		case !namePattern.MatchString(a.Name) || len(a.Name) > 128:
			k.bad(field, "%q is no name for an anchor: lower-case letters, digits and single - _ . only", a.Name)
		case a.Name == OwnAnchor:
			k.bad(field, "%s is the name of the server's own anchor, which is always there", OwnAnchor)
		}
		if first, ok := at[a.Name]; ok {
			k.clash(field, fmt.Sprintf("anchors[%d]", first), "both are named "+a.Name)
		}
		at[a.Name] = i
		k.anchor(field, a)
	}
	for i, b := range c.Builders {
		field := fmt.Sprintf("builders[%d]", i)
		if _, ok := at[b.Anchor]; b.Anchor != "" && b.Anchor != OwnAnchor && !ok {
			k.bad(field+".anchor", "%q is no anchor of this file", b.Anchor)
		}
		if _, _, err := b.Patterns(); err != nil {
			k.bad(field, "%v", err)
		}
		if b.Key != "" && !keyPattern.MatchString(b.Key) {
			k.bad(field+".key", "%.80q is no SHA-256 in hex", b.Key)
		}
		if b.Level < 0 || b.Level > 3 {
			k.bad(field+".level", "is %d, want 0 to 3", b.Level)
		}
	}
}

// anchor wants the fields of the anchor's type, and none that it does not read:
// whoever gave them believes that they do something.
func (k *checker) anchor(field string, a Anchor) {
	if !slices.Contains(AnchorTypes, a.Type) {
		k.bad(field+".type", "%q is not one of %s", a.Type, strings.Join(AnchorTypes, ", "))
		return
	}
	for _, f := range []struct {
		name     string
		given    bool
		takes    []string
		neededBy []string
	}{
		{"trusted_root_file", a.TrustedRootFile != "", []string{"sigstore", "github", "key"}, nil},
		{"key_file", a.KeyFile != "", []string{"key"}, []string{"key"}},
		{"log", a.Log, []string{"key"}, nil},
		{"timestamp", a.Timestamp, []string{"key"}, nil},
		{"ca_file", a.CAFile != "", []string{"x509"}, []string{"x509"}},
		{"tsa_file", a.TSAFile != "", []string{"x509"}, nil},
		{"crl_file", a.CRLFile != "", []string{"x509"}, nil},
	} {
		switch {
		case f.given && !slices.Contains(f.takes, a.Type):
			k.bad(field+"."+f.name, "goes with type %s, and with no other", strings.Join(f.takes, ", "))
		case !f.given && slices.Contains(f.neededBy, a.Type):
			k.bad(field, "%s is missing, which type %s needs", f.name, a.Type)
		}
	}
	k.anchorRoot(field, a)
}

// anchorRoot wants one trusted root, where one is needed.
func (k *checker) anchorRoot(field string, a Anchor) {
	types, shipped := ShippedRoots[a.TrustedRoot]
	switch {
	case a.TrustedRoot != "" && a.TrustedRootFile != "":
		k.clash(field+".trusted_root", field+".trusted_root_file", "an anchor has one of the two")
	case a.TrustedRoot != "" && !shipped:
		k.bad(field+".trusted_root", "%q is not one of %s; a root of another instance goes into a file (trusted_root_file)", a.TrustedRoot, strings.Join(slices.Sorted(maps.Keys(ShippedRoots)), ", "))
	case a.TrustedRoot != "" && !slices.Contains(types, a.Type):
		k.bad(field+".trusted_root", "%s goes with type %s", a.TrustedRoot, strings.Join(types, ", "))
	case a.TrustedRoot != "" || a.TrustedRootFile != "":
	case a.Type == "sigstore" || a.Type == "github":
		k.bad(field, "trusted_root or trusted_root_file is missing, which type %s needs", a.Type)
	case a.Log || a.Timestamp:
		k.bad(field, "trusted_root or trusted_root_file is missing: nothing says which log or timestamp authority is trusted")
	}
}
