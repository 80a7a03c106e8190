package evidence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Waiver is a person's permission that something which a rule finds does not
// count, in some repositories, until a moment. It is no evidence: VEX says that
// a fault does no harm, a waiver says that somebody answers for it.
//
// What it does not name it does not narrow: without Advisory and Package it is
// about the rule as a whole, and without Rule about what any rule finds that
// has the advisory or package.
type Waiver struct {
	ID           string     `json:"id"`
	Repositories Pattern    `json:"repositories"`       // zone first: "production/payments/**"
	Digest       oci.Digest `json:"digest,omitzero"`    // zero for any
	Rule         string     `json:"rule,omitempty"`     // of the zone's gate
	Advisory     string     `json:"advisory,omitempty"` // a finding's id, or an alias of it
	Package      string     `json:"package,omitempty"`  // purl; without a version for any

	Owner         string `json:"owner"` // who answers for what is waived
	Reason        string `json:"reason"`
	Justification string `json:"justification,omitempty"` // one of VEX's
	// AskedBy is who asked for it, by name. Where several have to grant a waiver,
	// their own yes is not one of them.
	AskedBy string `json:"asked_by,omitempty"`
	// Follow lets a waiver about a digest hold for others in its repositories, as
	// far as Follows says.
	Follow bool `json:"follow,omitempty"`
	// Granted are those who said yes, in the order in which they did, each once.
	Granted []Grantor `json:"granted"`

	From  time.Time `json:"from"`
	Until time.Time `json:"until"` // the first moment at which it does not hold any more
}

// Grantor is who said yes to a waiver.
type Grantor struct {
	Name   string    `json:"name"`
	Groups []string  `json:"groups,omitempty"`
	At     time.Time `json:"at"`
}

// justifications are those of OpenVEX and CSAF for "not affected".
var justifications = []string{
	"component_not_present", "vulnerable_code_not_present", "vulnerable_code_not_in_execute_path",
	"vulnerable_code_cannot_be_controlled_by_adversary", "inline_mitigations_already_exist",
}

// Justifications lists the justifications that VEX knows, which a waiver may give.
func Justifications() []string { return slices.Clone(justifications) }

// maxWaiver bounds what a waiver says, in bytes a text.
const maxWaiver = 2048

// ErrWaiverInvalid matches the errors of Validate.
var ErrWaiverInvalid = errors.New("not a valid waiver")

// Validate refuses a waiver that could be about anything, or for ever.
func (w *Waiver) Validate() error {
	if err := w.validate(); err != nil {
		return fmt.Errorf("%w: %v", ErrWaiverInvalid, err)
	}
	return nil
}

func (w *Waiver) validate() error {
	zone, _, _ := strings.Cut(w.Repositories.String(), "/")
	switch {
	case w.Repositories.IsZero():
		return errors.New("it names no repositories; for all of a zone, write production/**")
	case zone == "" || strings.Contains(zone, "*"):
		return fmt.Errorf("it is about %s: the zone has to be written out, as in production/**: what holds in one zone is no permission for another", oci.Quote(w.Repositories.String()))
	case w.Rule == "" && w.Advisory == "" && w.Package == "":
		return errors.New("it names no rule, advisory or package: it would be about everything")
	case w.Package != "" && !strings.HasPrefix(w.Package, "pkg:"):
		return fmt.Errorf("its package is %s, want a purl such as pkg:deb/debian/openssl", oci.Quote(w.Package))
	case strings.TrimSpace(w.Owner) == "":
		return errors.New("it has no owner: somebody has to answer for it")
	case strings.TrimSpace(w.Reason) == "":
		return errors.New("it has no reason: it is what an auditor reads")
	case w.Justification != "" && !slices.Contains(justifications, w.Justification):
		return fmt.Errorf("its justification is %s, want one of %s", oci.Quote(w.Justification), strings.Join(justifications, ", "))
	case w.Follow && (w.Digest.IsZero() || w.Advisory == "" || w.version() == ""):
		return errors.New("it is to follow to other digests, and what was looked at is not written out: name the digest, the advisory, and the package with its version")
	case w.Follow && w.Justification == "":
		return errors.New("it is to follow to other digests while its justification holds, and has none")
	case w.Until.IsZero():
		return errors.New("it has no end")
	case !w.From.Before(w.Until):
		return fmt.Errorf("it is from %s until %s, which is no time at all", w.From.Format(time.RFC3339), w.Until.Format(time.RFC3339))
	}
	for _, s := range []string{w.Repositories.String(), w.Rule, w.Advisory, w.Package, w.Owner, w.Reason} {
		if len(s) > maxWaiver {
			return fmt.Errorf("a text of %d bytes, at most %d", len(s), maxWaiver)
		}
	}
	return nil
}

// About reports whether the waiver is about a placement, whatever is found there.
func (w *Waiver) About(r oci.Repository, d oci.Digest) bool {
	return w.Repositories.Match(r.String()) && (w.Digest.IsZero() || w.Digest == d || w.Follow)
}

// Follows returns "" where a waiver that was granted for another digest holds for
// a finding too: what was looked at then is there unchanged, and there is still
// nothing to update to. Otherwise it says why it does not.
func (w *Waiver) Follows(f *Finding) string {
	switch _, version := splitPURL(f.PURL); {
	case !w.Follow:
		return "it is about " + w.Digest.String() + " alone"
	case version != w.version():
		return fmt.Sprintf("the package is of version %s, and %s was looked at", version, w.version())
	case f.Fixed != "":
		return "there is a fix: " + f.Fixed
	}
	return ""
}

// AnyVersion is w about whatever version of its package.
func (w *Waiver) AnyVersion() *Waiver {
	c := *w
	c.Package, _ = splitPURL(w.Package)
	return &c
}

// version is that of the package which the waiver names, "" for any.
func (w *Waiver) version() string {
	_, version := splitPURL(w.Package)
	return version
}

// Whole reports whether it is about a rule as such, and not about some of what
// the rule finds.
func (w *Waiver) Whole() bool { return w.Rule != "" && w.Advisory == "" && w.Package == "" }

// OfFinding reports whether it is about a finding.
func (w *Waiver) OfFinding(f *Finding) bool {
	if w.Advisory != "" && w.Advisory != f.ID && !slices.Contains(f.Aliases, w.Advisory) {
		return false
	}
	return w.OfPackage(f.PURL)
}

// OfPackage reports whether it is about a package, if it names any: the same
// package, and the same version where it names one. Qualifiers (arch, distro)
// do not matter.
func (w *Waiver) OfPackage(purl string) bool {
	if w.Package == "" {
		return true
	}
	want, wantVersion := splitPURL(w.Package)
	have, version := splitPURL(purl)
	return want == have && (wantVersion == "" || wantVersion == version)
}

// splitPURL parts a purl into what names the package, and its version.
func splitPURL(purl string) (name, version string) {
	purl, _, _ = strings.Cut(purl, "#")
	purl, _, _ = strings.Cut(purl, "?")
	if at := strings.LastIndexByte(purl, '@'); at > strings.LastIndexByte(purl, '/') {
		return purl[:at], purl[at+1:]
	}
	return purl, ""
}

// HoldsAt reports whether the waiver is in force at a moment.
func (w *Waiver) HoldsAt(t time.Time) bool { return !t.Before(w.From) && t.Before(w.Until) }
