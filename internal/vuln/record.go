package vuln

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Limits within a record. The largest real ones stay below a tenth of each.
const (
	maxDepth    = 64     // nesting of JSON
	maxAffected = 20_000 // entries of affected
	maxRanges   = 2_000  // of one entry
	maxEvents   = 5_000  // of one range
	maxVersions = 50_000 // of one entry
	maxIDs      = 5_000  // aliases, upstream, related together
	maxName     = 500    // bytes of a package name or an ecosystem
	maxVersion  = 250    // bytes of a version, in records and in packages
	maxSummary  = 512    // bytes kept; publishers write up to 300
)

// Record is one advisory, reduced to what matching and people need. References,
// credits, commits and the long text stay with the publisher.
type Record struct {
	ID        string
	Modified  time.Time // as claimed
	Published time.Time // as claimed; zero when not told
	Withdrawn time.Time // as claimed; zero when it stands. A withdrawn record matches nothing
	Aliases   []string  // ids of the same fault
	// Upstream lists ids of what the record passes on: one CVE for a
	// distribution's row about it, many for an announcement. The CVEs that
	// AlmaLinux and the like list as related are here.
	Upstream  []string
	Summary   string // one line, at most 512 bytes; a longer one ends with how many more the publisher has
	Malicious bool   // the package itself is the attack
	Rating    Rating // of the whole record
	Affected  []Affected
	// Ignored counts entries of affected that no installed package can be
	// compared with: commits only, or nothing at all.
	Ignored int
}

// Affected says which versions of one package have the fault: those in any of
// Ranges, and those in Versions.
type Affected struct {
	Ecosystem string // canonical, with release: "Debian:12"
	Name      string // canonical
	Rating    Rating // of the fault in this package; the record's counts where it says nothing
	Ranges    []Range
	Versions  []string // single ones that are in no range
	// Since is when the record first said of this package what it says now
	// about severity and fixes; seconds, zero when it has from the beginning.
	// Parsing leaves it zero, Carry sets it.
	Since time.Time
}

// Range is OSV's range of versions, its events in order of version.
type Range struct {
	Events []Event
	// Semver says to compare by semantic versioning where the ecosystem has no
	// order of its own.
	Semver bool
	// Unordered says that the events could not be put in order: whether a
	// version is in the range cannot be told.
	Unordered bool
}

// Event is a point in a Range. An Introduced "0" is before every version.
type Event struct {
	Kind    EventKind
	Version string
}

// EventKind is what happens at an event.
type EventKind uint8

// The kinds: the version of Introduced and of LastAffected has the fault, that
// of Fixed has not. Limit bounds the range as Fixed does, but names no fix.
const (
	Introduced EventKind = iota
	Fixed
	LastAffected
	Limit
)

// rawRecord is the part of the OSV schema that is read.
type rawRecord struct {
	ID        string        `json:"id"`
	Modified  rawTime       `json:"modified"`
	Published rawTime       `json:"published"`
	Withdrawn rawTime       `json:"withdrawn"`
	Aliases   []string      `json:"aliases"`
	Upstream  []string      `json:"upstream"`
	Related   []string      `json:"related"`
	Summary   string        `json:"summary"`
	Details   string        `json:"details"`
	Severity  []severity    `json:"severity"`
	Affected  []rawAffected `json:"affected"`
	Database  specifics     `json:"database_specific"`
}

type rawAffected struct {
	Package struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
	} `json:"package"`
	Severity  []severity `json:"severity"`
	Ranges    []rawRange `json:"ranges"`
	Versions  []string   `json:"versions"`
	Ecosystem specifics  `json:"ecosystem_specific"`
	Database  specifics  `json:"database_specific"`
}

type rawRange struct {
	Type   string          `json:"type"`
	Events json.RawMessage `json:"events"` // of GIT ranges never looked at
}

// looseString reads a JSON string, and anything else as "": fields that
// databases fill as they like must not cost the record.
type looseString string

func (s *looseString) UnmarshalJSON(b []byte) error {
	var v string
	if len(b) > 0 && b[0] == '"' && json.Unmarshal(b, &v) == nil {
		*s = looseString(v)
	}
	return nil
}

func (s *specifics) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '{' {
		return nil
	}
	type fields specifics // without this method
	return json.Unmarshal(b, (*fields)(s))
}

// rawTime reads "" and null as the zero time.
type rawTime struct{ time.Time }

func (t *rawTime) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil || s == "" {
		return err
	}
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return fmt.Errorf("time %s is not RFC 3339", oci.Quote(s))
	}
	t.Time = v.UTC()
	return nil
}

// ParseRecord reads an OSV record of at most MaxRaw bytes. What it does not
// know it ignores; what it cannot read although matching depends on it is an
// error, and the record is not used at all.
func ParseRecord(raw []byte) (*Record, error) {
	if len(raw) > MaxRaw {
		return nil, fmt.Errorf("record of %d bytes is larger than %d MiB", len(raw), MaxRaw>>20)
	}
	if deeper(raw, maxDepth) {
		return nil, fmt.Errorf("record is nested deeper than %d", maxDepth)
	}
	var in rawRecord
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("reading record: %w", err)
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	r := &Record{
		ID: in.ID, Modified: in.Modified.Time, Published: in.Published.Time, Withdrawn: in.Withdrawn.Time,
		Aliases: ids(in.Aliases), Upstream: ids(in.upstream()),
		Summary:   summaryOf(in.Summary, in.Details),
		Malicious: in.malicious(),
		Rating:    rate(in.Severity, in.Database),
	}
	if isErratum(r.ID) && r.Rating.Level == "" {
		r.Rating = Rating{Level: levelOfTitle(in.Summary), Vendor: true}
	}
	for i := range in.Affected {
		a, err := in.Affected[i].parse()
		if err != nil {
			return nil, fmt.Errorf("affected[%d] of %s: %w", i, in.ID, err)
		}
		if a == nil {
			r.Ignored++
			continue
		}
		r.Affected = append(r.Affected, *a)
	}
	if r.notSecurity() {
		r.Ignored += len(r.Affected)
		r.Affected = nil
	}
	return r, nil
}

// deeper reports whether JSON text nests deeper than limit, without reading it.
func deeper(raw []byte, limit int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

func (in *rawRecord) check() error {
	if err := checkID(in.ID); err != nil {
		return err
	}
	if n := len(in.Aliases) + len(in.Upstream) + len(in.Related); n > maxIDs {
		return fmt.Errorf("%s has %d aliases, more than %d", in.ID, n, maxIDs)
	}
	if n := len(in.Affected); n > maxAffected {
		return fmt.Errorf("%s affects %d packages, more than %d", in.ID, n, maxAffected)
	}
	return nil
}

// checkID accepts printable ASCII without space, slash and quotes: ids become
// file names, parts of URLs and words on terminals.
func checkID(id string) error {
	if id == "" {
		return errors.New("record has no id")
	}
	if len(id) > MaxIDLen {
		return fmt.Errorf("id %s is longer than %d bytes", oci.Quote(id), MaxIDLen)
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' || strings.IndexByte(`/\"'<>`, c) >= 0 {
			return fmt.Errorf("id %s has a character that no id has", oci.Quote(id))
		}
	}
	return nil
}

// ids returns the usable ids of a list: people have put blanks around them and
// links among them, which costs an alias but not the record.
func ids(list []string) []string {
	var out []string
	for _, id := range list {
		if id = strings.TrimSpace(id); checkID(id) == nil && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// isErratum reports whether the id is of a database that publishes updates of
// every kind under the rules of Red Hat's: xxSA security, xxBA bug fix, xxEA
// enhancement.
func isErratum(id string) bool {
	return len(id) > 5 && id[4] == '-' && id[3] == 'A' && strings.Contains("AL RL RH", id[:2]) && strings.IndexByte("SBE", id[2]) >= 0
}

// notSecurity reports whether the record announces a bug fix or an
// enhancement: an update that closes no fault anyone could name.
func (r *Record) notSecurity() bool {
	return isErratum(r.ID) && r.ID[2] != 'S' && len(r.cves()) == 0
}

// upstream returns the ids that the record passes on. Errata list the CVEs
// that they fix as related.
func (in *rawRecord) upstream() []string {
	if !isErratum(in.ID) {
		return in.Upstream
	}
	ids := in.Upstream
	for _, id := range in.Related {
		if isCVE(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (in *rawRecord) malicious() bool {
	if strings.HasPrefix(in.ID, "MAL-") {
		return true
	}
	for _, a := range in.Aliases {
		if strings.HasPrefix(a, "MAL-") {
			return true
		}
	}
	return false
}

func isCVE(id string) bool { return strings.HasPrefix(id, "CVE-") }

// cves returns the CVEs that the record is or is about, each once.
func (r *Record) cves() []string {
	var out []string
	for _, list := range [][]string{{r.ID}, r.Aliases, r.Upstream} {
		for _, id := range list {
			if isCVE(id) && !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}

// summaryOf returns one clean line: the summary, or the first line of the details.
// Control characters would reach terminals. Of a line over maxSummary bytes the
// rest stays with the publisher, under the ID of the record; how much that is is
// said.
func summaryOf(summary, details string) string {
	s := summary
	if strings.TrimSpace(s) == "" {
		s = strings.TrimLeft(details, "# \t\r\n")
		if i := strings.IndexAny(s, "\r\n"); i >= 0 {
			s = s[:i]
		}
	}
	s = strings.Join(strings.FieldsFunc(s, func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsGraphic(c) || c == utf8.RuneError
	}), " ")
	if len(s) <= maxSummary {
		return s
	}
	more := func(n int) string { return fmt.Sprintf("… (%d bytes more)", n) }
	end := maxSummary - len(more(len(s)))
	for !utf8.RuneStart(s[end]) {
		end--
	}
	if i := strings.LastIndexByte(s[:end], ' '); i > maxSummary/2 {
		end = i
	}
	return s[:end] + more(len(s)-end)
}

// parse returns nil for an entry that no installed package can be compared
// with.
func (in *rawAffected) parse() (*Affected, error) {
	if in.Package.Ecosystem == "" || in.Package.Name == "" {
		return nil, nil
	}
	if err := errors.Join(checkText("ecosystem", in.Package.Ecosystem, maxName), checkText("name", in.Package.Name, maxName)); err != nil {
		return nil, err
	}
	base, full := canonicalEcosystem(in.Package.Ecosystem)
	eco := lookupEcosystem(base)
	a := &Affected{Ecosystem: full, Name: in.Package.Name, Rating: rate(in.Severity, in.Ecosystem, in.Database)}
	if a.Rating.Vendor && !eco.distro {
		a.Rating = a.Rating.general() // a distribution's urgency says nothing of what is not its package
	}
	if eco.fold != nil {
		a.Name = eco.fold(a.Name)
	}
	if len(in.Ranges) > maxRanges || len(in.Versions) > maxVersions {
		return nil, fmt.Errorf("%d ranges and %d versions of one package, more than %d and %d", len(in.Ranges), len(in.Versions), maxRanges, maxVersions)
	}
	for i := range in.Ranges {
		r, err := in.Ranges[i].parse(base)
		if err != nil {
			return nil, fmt.Errorf("ranges[%d] of %s: %w", i, oci.Quote(a.Name), err)
		}
		if r != nil {
			a.Ranges = append(a.Ranges, *r)
		}
	}
	for _, v := range in.Versions {
		if err := checkText("version", v, maxVersion); err != nil {
			return nil, err
		}
	}
	a.Versions = notCovered(base, a.Ranges, in.Versions)
	if len(a.Ranges) == 0 && len(a.Versions) == 0 {
		return nil, nil
	}
	return a, nil
}

// checkText refuses what no name or version of a package holds: control
// characters, which would reach terminals, and endless text.
func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%s %s is longer than %d bytes", what, oci.Quote(s), limit)
	}
	for _, c := range s {
		if !unicode.IsGraphic(c) || c == utf8.RuneError {
			return fmt.Errorf("%s %s has a control character", what, oci.Quote(s))
		}
	}
	return nil
}

// parse returns nil for a range of commits.
func (in *rawRange) parse(base string) (*Range, error) {
	switch in.Type {
	case "GIT":
		return nil, nil
	case "SEMVER", "ECOSYSTEM":
	default:
		return nil, fmt.Errorf("type %s is not known", oci.Quote(in.Type))
	}
	var events []struct {
		Introduced   *string `json:"introduced"`
		Fixed        *string `json:"fixed"`
		LastAffected *string `json:"last_affected"`
		Limit        *string `json:"limit"`
	}
	if err := json.Unmarshal(in.Events, &events); err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	if len(events) > maxEvents {
		return nil, fmt.Errorf("%d events, more than %d", len(events), maxEvents)
	}
	r := &Range{Semver: in.Type == "SEMVER"}
	introduced := false
	for i, e := range events {
		said := false
		for kind, v := range []*string{Introduced: e.Introduced, Fixed: e.Fixed, LastAffected: e.LastAffected, Limit: e.Limit} {
			if v == nil || *v == "" {
				continue
			}
			said = true
			if EventKind(kind) == Limit && *v == "*" {
				continue // "*" is infinity, as no limit is
			}
			if err := checkText("version", *v, maxVersion); err != nil {
				return nil, err
			}
			r.Events = append(r.Events, Event{EventKind(kind), *v})
			introduced = introduced || EventKind(kind) == Introduced
		}
		if !said {
			return nil, fmt.Errorf("events[%d] says nothing", i)
		}
	}
	if !introduced {
		return nil, errors.New("no event introduces the fault")
	}
	r.order(base)
	return r, nil
}
