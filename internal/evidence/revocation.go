package evidence

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// RevocationKind says what trust has ended in.
type RevocationKind string

// The kinds.
const (
	RevokedDigest   RevocationKind = "digest"   // content: a manifest, or a blob with all that holds it
	RevokedKey      RevocationKind = "key"      // signatures by a bare key
	RevokedIdentity RevocationKind = "identity" // signatures by an identity
	RevokedBuilder  RevocationKind = "builder"  // what a builder built, and what it says of that
	RevokedFeed     RevocationKind = "feed"     // records of a feed of advisories
	RevokedWindow   RevocationKind = "window"   // all that a signer, or who pushed, touched between two times
)

// RevocationKinds lists the kinds in the order of the documentation.
func RevocationKinds() []RevocationKind {
	return []RevocationKind{RevokedDigest, RevokedKey, RevokedIdentity, RevokedBuilder, RevokedFeed, RevokedWindow}
}

// Revocation is the end of trust in something. What its kind does not need is
// zero.
type Revocation struct {
	ID        int64          `json:"-"`
	Kind      RevocationKind `json:"-"`
	Digest    oci.Digest     `json:"digest,omitzero"`
	Key       string         `json:"key,omitempty"`       // SHA-256 of the public key (SPKI), hex
	Issuer    Pattern        `json:"issuer,omitzero"`     // zero for any, where Subject is given
	Subject   Pattern        `json:"subject,omitzero"`    // of the identity
	Builder   string         `json:"builder,omitempty"`   // as its provenance names it
	Feed      string         `json:"feed,omitempty"`      // a source, or one feed of it: SOURCE/ECOSYSTEM
	Principal string         `json:"principal,omitempty"` // who pushed, by name
	// Signatures count again that are proven to be from before From, or not from
	// before Until. Zero is open. One whose time nothing proves is inside.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`

	Reason string    `json:"-"`
	By     string    `json:"-"` // name of the principal
	At     time.Time `json:"-"`
	// Since and Ended are the numbers of the acts that made and lifted it; Ended
	// is 0 while it is in force.
	Since int64 `json:"-"`
	Ended int64 `json:"-"`
}

// maxRevoked bounds what a revocation names, and its reason, in bytes.
const maxRevoked = 2048

// ErrRevocationInvalid matches the errors of Validate.
var ErrRevocationInvalid = errors.New("not a valid revocation")

// Validate refuses a revocation that does not say what its kind needs, or says
// more: whoever asked for it believes that it does something.
func (r *Revocation) Validate() error {
	if err := r.validate(); err != nil {
		return fmt.Errorf("%w: %v", ErrRevocationInvalid, err)
	}
	return nil
}

func (r *Revocation) validate() error {
	has := map[string]bool{
		"digest": !r.Digest.IsZero(), "key": r.Key != "", "issuer": !r.Issuer.IsZero(), "subject": !r.Subject.IsZero(),
		"builder": r.Builder != "", "feed": r.Feed != "", "principal": r.Principal != "", "times": !r.From.IsZero() || !r.Until.IsZero(),
	}
	var needs, may string
	switch r.Kind {
	case RevokedDigest, RevokedFeed:
		needs = string(r.Kind)
	case RevokedKey, RevokedBuilder:
		needs, may = string(r.Kind), "times"
	case RevokedIdentity:
		needs, may = "subject", "issuer times"
	case RevokedWindow:
		needs, may = "times", "key issuer subject builder principal"
	default:
		return fmt.Errorf("its kind is %s, want one of %v", oci.Quote(string(r.Kind)), RevocationKinds())
	}
	if !has[needs] {
		return fmt.Errorf("a revocation of kind %s needs: %s", r.Kind, needs)
	}
	for name, given := range has {
		if given && name != needs && !strings.Contains(" "+may+" ", " "+name+" ") {
			return fmt.Errorf("a revocation of kind %s has no use for: %s", r.Kind, name)
		}
	}
	return r.validateValues()
}

func (r *Revocation) validateValues() error {
	signer := r.Key != "" || !r.Subject.IsZero() || r.Builder != ""
	switch {
	case r.Kind == RevokedWindow && signer == (r.Principal != ""):
		return errors.New("a window is of what one signer signed (key, subject or builder), or of what one principal pushed")
	case !r.Issuer.IsZero() && r.Subject.IsZero():
		return errors.New("an issuer without a subject; for all whom it knows, the subject is **")
	case r.Key != "" && !isKeyHash(r.Key):
		return fmt.Errorf("the key is %s, want the SHA-256 of the public key in hex, as bonded why shows it", oci.Quote(r.Key))
	case !r.From.IsZero() && !r.Until.IsZero() && !r.From.Before(r.Until):
		return fmt.Errorf("it is from %s until %s, which is no time at all", r.From.Format(time.RFC3339), r.Until.Format(time.RFC3339))
	case strings.TrimSpace(r.Reason) == "":
		return errors.New("it needs a reason: it is what everyone is told who is refused")
	}
	for _, s := range []string{r.Builder, r.Feed, r.Principal, r.Reason, r.Issuer.String(), r.Subject.String()} {
		if len(s) > maxRevoked {
			return fmt.Errorf("a text of %d bytes, at most %d", len(s), maxRevoked)
		}
	}
	return nil
}

func isKeyHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}

// Bars reports whether what the revocation touches may stand nowhere until it is
// lifted. What a key or an identity signed may, by what others say of it.
func (r *Revocation) Bars() bool {
	return r.Kind == RevokedDigest || r.Kind == RevokedBuilder || r.Kind == RevokedWindow
}

// OfSigner reports whether the revocation is about signatures.
func (r *Revocation) OfSigner() bool {
	return r.Key != "" || !r.Subject.IsZero() || r.Builder != ""
}

// Covers reports whether a signature does not count any more.
func (r *Revocation) Covers(sig *Signature) bool {
	switch {
	case !r.OfSigner():
		return false
	case r.Key != "" && !strings.EqualFold(r.Key, sig.Identity.Key):
		return false
	case !r.Subject.IsZero() && !r.Subject.MatchFold(sig.Identity.Subject):
		return false
	case !r.Issuer.IsZero() && !r.Issuer.MatchFold(sig.Identity.Issuer):
		return false
	case r.Builder != "" && r.Builder != builderOf(sig):
		return false
	}
	return sig.At.IsZero() || r.Within(sig.At)
}

func builderOf(sig *Signature) string {
	if sig.Statement == nil || sig.Statement.Provenance == nil {
		return ""
	}
	return sig.Statement.Provenance.Builder
}

// Within reports whether a time is in the window of the revocation.
func (r *Revocation) Within(t time.Time) bool {
	return (r.From.IsZero() || !t.Before(r.From)) && (r.Until.IsZero() || t.Before(r.Until))
}

// OfFeed reports whether the records of a feed do not count any more.
func (r *Revocation) OfFeed(name string) bool {
	return r.Feed != "" && (name == r.Feed || strings.HasPrefix(name, r.Feed+"/"))
}

// What names what trust has ended in, for people.
func (r *Revocation) What() string {
	var s string
	switch {
	case !r.Digest.IsZero():
		s = r.Digest.String()
	case r.Feed != "":
		s = "feed " + r.Feed
	case r.Principal != "":
		s = "what " + r.Principal + " pushed"
	default:
		s = r.signer()
	}
	if !r.From.IsZero() {
		s += " from " + r.From.UTC().Format(time.RFC3339)
	}
	if !r.Until.IsZero() {
		s += " until " + r.Until.UTC().Format(time.RFC3339)
	}
	return s
}

func (r *Revocation) signer() string {
	var parts []string
	if r.Key != "" {
		parts = append(parts, "key "+r.Key)
	}
	if !r.Subject.IsZero() {
		who := "identity " + r.Subject.String()
		if !r.Issuer.IsZero() {
			who += " (" + r.Issuer.String() + ")"
		}
		parts = append(parts, who)
	}
	if r.Builder != "" {
		parts = append(parts, "builder "+r.Builder)
	}
	return strings.Join(parts, " with ")
}

// String says that, when and why trust has ended.
func (r *Revocation) String() string {
	return fmt.Sprintf("%s was revoked on %s: %s", r.What(), r.At.UTC().Format("2006-01-02 15:04 UTC"), r.Reason)
}

// Revocations are those in force.
type Revocations []Revocation

// Keep splits signatures into those that count and those that do not any more,
// which are told with the reason.
func (rs Revocations) Keep(sigs []Signature) (kept []Signature, revoked []Refusal) {
	for i := range sigs {
		if r := rs.covering(&sigs[i]); r != nil {
			revoked = append(revoked, Refusal{Referrer: sigs[i].Referrer, Form: sigs[i].Form, Reasons: []string{r.String()}})
			continue
		}
		kept = append(kept, sigs[i])
	}
	return kept, revoked
}

func (rs Revocations) covering(sig *Signature) *Revocation {
	for i := range rs {
		if rs[i].Covers(sig) {
			return &rs[i]
		}
	}
	return nil
}

// OfFeed returns the revocation of a feed, nil when there is none.
func (rs Revocations) OfFeed(name string) *Revocation {
	for i := range rs {
		if rs[i].OfFeed(name) {
			return &rs[i]
		}
	}
	return nil
}
