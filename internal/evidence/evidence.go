// Package evidence holds the nouns of what can be known about one digest
// beyond its content: findings now, verified statements as they come.
package evidence

import (
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Severity is a level, worst last in order of Rank.
type Severity string

// The levels. Unknown means that no source rated it; it is not "low".
const (
	Unknown    Severity = "unknown"
	Negligible Severity = "negligible"
	Low        Severity = "low"
	Medium     Severity = "medium"
	High       Severity = "high"
	Critical   Severity = "critical"
)

// Rank orders severities: 0 for unknown up to 5 for critical.
func (s Severity) Rank() int {
	switch s {
	case Negligible:
		return 1
	case Low:
		return 2
	case Medium:
		return 3
	case High:
		return 4
	case Critical:
		return 5
	}
	return 0
}

// Finding is a vulnerability in one package of an artifact. One package with
// one fault gives one finding: records that are aliases of each other are
// folded, and Package, Path name one place with Places counting all.
//
// Since is when the record first said of this package what it says now about
// severity and fix, zero when that is Known: a fix that comes for an old fault
// must not come with a deadline that was missed long ago.
type Finding struct {
	ID        string   `json:"id"`      // the record's id: DEBIAN-CVE-…, GO-…, GHSA-…
	Aliases   []string `json:"aliases"` // all other ids, CVE first, sorted
	Severity  Severity `json:"severity"`
	Score     float64  `json:"score,omitempty"`  // CVSS base score, 0 when none
	Vector    string   `json:"vector,omitempty"` // CVSS vector it comes from
	Summary   string   `json:"summary,omitempty"`
	Package   string   `json:"package"` // as people know it: the binary or module name
	PURL      string   `json:"purl"`
	Version   string   `json:"version"`
	Ecosystem string   `json:"ecosystem"`
	// Source and SourceVersion are what a distribution built the package from; empty
	// where that is the package itself, and where there is no such thing.
	Source        string     `json:"source,omitempty"`
	SourceVersion string     `json:"source_version,omitempty"`
	Path          string     `json:"path"`            // where, the first in order
	Places        int        `json:"places"`          // how many places have it
	Layer         int        `json:"layer"`           // index of the layer that brought it
	Fixed         string     `json:"fixed,omitempty"` // lowest version above Version without the fault; "" when no fix is known
	Malicious     bool       `json:"malicious,omitempty"`
	Published     time.Time  `json:"published,omitzero"`
	Known         time.Time  `json:"known,omitzero"` // when the record first reached us: deadlines count from here, or from Since
	Since         time.Time  `json:"since,omitzero"`
	Set           oci.Digest `json:"-"`
	// Exploited is since when the fault is known to be exploited, as CISA's KEV
	// catalog says; zero when it does not.
	Exploited  time.Time `json:"exploited,omitzero"`
	ExploitDue time.Time `json:"exploit_due,omitzero"` // by when CISA wants it mended
	Ransomware bool      `json:"ransomware,omitempty"` // it is known to be used for ransom
	// EPSS is the probability that it is exploited within 30 days, above 0 and at
	// most 1; 0 when it was not scored. Percentile is how much of all is below.
	EPSS       float64 `json:"epss,omitempty"`
	Percentile float64 `json:"percentile,omitempty"`
	// VEX is what counts of what is said about it; nil when nobody whose word
	// counts has said anything, and where nobody was asked.
	VEX *Assessment `json:"vex,omitempty"`
}

// CVE returns the CVE id of the finding, or its ID when it has none.
func (f *Finding) CVE() string {
	const prefix = "CVE-"
	if len(f.ID) > len(prefix) && f.ID[:len(prefix)] == prefix {
		return f.ID
	}
	for _, a := range f.Aliases {
		if len(a) > len(prefix) && a[:len(prefix)] == prefix {
			return a
		}
	}
	return f.ID
}

// Snapshot names the state of all advisories at one moment. The zero value
// means that none were ever loaded.
type Snapshot struct {
	Seq        int64      `json:"seq"`    // grows by one with each load that changed anything
	Digest     oci.Digest `json:"digest"` // over all records in force, by feed
	At         time.Time  `json:"at"`     // when the load of advisories that it comes from ended; zero when none were ever loaded
	Advisories int        `json:"advisories"`
	// Ecosystems with at least one record in force, sorted, without release.
	// A package of any other ecosystem was not checked, which is not "clean".
	Ecosystems []string `json:"ecosystems,omitempty"`
	// Exploited, Scores and Lifecycles name what is known beside the advisories:
	// the catalog of what is exploited, the scores of what is likely to be, and
	// when releases end. Zero: it was never loaded.
	Exploited  oci.Digest `json:"exploited,omitzero"`
	Scores     oci.Digest `json:"scores,omitzero"`
	Lifecycles oci.Digest `json:"lifecycles,omitzero"`
	// VEX names which VEX documents of which feed are in force.
	VEX oci.Digest `json:"vex,omitzero"`
}
