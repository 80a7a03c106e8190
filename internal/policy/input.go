package policy

import (
	"cmp"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Clause is the half of a gate that is asked.
type Clause string

// The clauses. Enter says what may come into a zone; Stay says what becomes of
// what is already in.
const (
	Enter Clause = "enter"
	Stay  Clause = "stay"
)

// Input is everything that a gate may look at for one placement. Nothing else
// enters a decision: the same Input gives the same Decision, whatever the
// order of the lists marked as sets. Evaluate only reads it.
type Input struct {
	Repository oci.Repository
	Digest     oci.Digest
	Zone       string // the zone to be entered, or stayed in
	Kind       oci.Kind
	Now        time.Time // when the decision is made; microseconds count, what is finer is cut off

	Manifest *oci.Manifest    // required
	Config   *oci.ImageConfig // nil: Image.Config, and nil there too means that it could not be read
	Image    *inventory.Image // nil unless an image, and for an image that is not analysed yet
	// InventoryDigest and ExtractorSet say what Image was computed from.
	InventoryDigest oci.Digest
	ExtractorSet    string

	Findings  []evidence.Finding // a set
	Unchecked []Unchecked        // a set
	Snapshot  evidence.Snapshot  // what Findings come from; zero when no advisories were ever loaded

	Children []Child // of an index, in any order
	// ChildrenUntil is, where children have Said, when time alone may change it.
	ChildrenUntil time.Time
	Evidence      []oci.Digest // referrers that were looked at; a set
	Verified      Verified

	BroughtBy string // name of the principal who brought it
	// Arrivals are who pushed it into this repository and into those that it was
	// promoted from, the first of each; a set.
	Arrivals []evidence.Arrival
	// Bases are where images are admitted that it descends from, of those that
	// the gate AsksForBase; a set.
	Bases []evidence.Base
	// BasesKnown says that they were looked for; without, nobody knows whether
	// there are any.
	BasesKnown bool
	// FirstSeen is when its content first came here, to whatever repository; zero
	// when nobody knows.
	FirstSeen time.Time

	// AdmittedAt is when the placement was admitted to Zone; zero under Enter.
	AdmittedAt time.Time
	// Promised is what the decision in force under Stay told, by rule, as
	// Promises returns it; nil when there is none. What was told is kept:
	// judging again does not start a deadline again. A caller that leaves it
	// nil for ever postpones for ever each deadline that had passed before it
	// was first told.
	Promised map[string]time.Time

	// Lifecycle tells how long what is in it is maintained; a set. It says nothing
	// where Snapshot names no Lifecycles.
	Lifecycle []evidence.Lifecycle

	// VEX holds documents from feeds with statements about Findings; a set. Those
	// that came attached are among Verified.
	VEX []evidence.VEXDocument
	// Supposed is counted as if somebody whom the gate believes had attached it: for
	// previews, whose decisions are not recorded. Optional.
	Supposed *evidence.VEXDocument
	// suppressed are the findings that do no harm, by whoever the gate believes.
	suppressed []evidence.Finding

	// Waivers are permissions that may concern the placement; a set. Those about
	// others, and those that have ended, make no difference.
	Waivers []evidence.Waiver
	// Approvals are what people have said for it; a set. They are only asked for
	// where the gate ReadsApprovals.
	Approvals []evidence.Word
	Engine    string // build of the engine, recorded in the decision
}

// Verified is what came of verifying the evidence. The zero value is that of a
// caller that has no anchors.
type Verified struct {
	// Signatures verified for anchors, and name this digest or, where Index says
	// so, an index that names it; a set.
	Signatures []evidence.Signature
	// Unsure could not be checked; a set. What was refused is not shown to gates.
	Unsure  []evidence.Refusal
	Anchors []Anchor // in force, with distinct names
	Digest  string   // of those anchors and of the table of builders, recorded in the decision
	// Until is when the evidence has to be verified again, because certificates
	// end; zero when never.
	Until time.Time
}

// Anchor is a root of trust that signatures were verified for.
type Anchor struct {
	Name string
	// Away says why it could not be asked; "" when it could.
	Away string
}

// Unchecked is a package that could not be matched against advisories, and
// why. No finding for it does not mean that it is clean.
type Unchecked struct {
	Package inventory.Located
	Reason  string // for people, stable text without operands
}

// Child is one entry of an index.
type Child struct {
	Digest   oci.Digest
	Platform *oci.Platform // as the index says; nil when it says nothing
	Present  bool          // stored here; an index may be sparse
	// Decision is the child's own, for the same zone and clause; nil when there
	// is none yet.
	Decision *api.Decision
	// Said takes Decision's place where a decision is made again: what the child
	// contributed then.
	Said *api.ChildSaid
}

// isEvidence: BuildKit's "unknown/unknown" children say something about
// another child and do not count.
func (c *Child) isEvidence() bool { return c.Platform.IsUnknown() }

// platform returns the child's platform for people, "" when it has none.
func (c *Child) platform() string {
	if c.Platform == nil {
		return ""
	}
	return c.Platform.String()
}

// canonical returns a copy of in whose sets are in one order, whose times are
// UTC in microseconds, and whose Config is settled. Lists that are in order
// already, as they mostly are, are shared and not copied.
func (in *Input) canonical(g *Gate) *Input {
	c := *in
	c.Now = stamp(in.Now)
	c.AdmittedAt = stamp(in.AdmittedAt)
	c.FirstSeen = stamp(in.FirstSeen)
	c.Snapshot.At = stamp(in.Snapshot.At)
	g.assess(&c)
	c.Findings = sorted(c.Findings, compareFindings)
	c.suppressed = sorted(c.suppressed, compareFindings)
	c.Unchecked = sorted(in.Unchecked, compareUnchecked)
	c.Children = sorted(in.Children, compareChildren)
	c.Evidence = sorted(in.Evidence, compareDigests)
	c.Verified.Signatures = sorted(in.Verified.Signatures, compareSignatures)
	c.Verified.Unsure = sorted(in.Verified.Unsure, compareRefusals)
	c.Verified.Until = stamp(in.Verified.Until)
	c.Lifecycle = sorted(in.Lifecycle, compareLifecycles)
	c.Snapshot.Ecosystems = sorted(in.Snapshot.Ecosystems, compareTexts)
	c.Bases = sorted(in.Bases, compareBases)
	c.Arrivals = sorted(settled(in.Arrivals), compareArrivals)
	c.Approvals = sorted(in.Approvals, compareWords)
	c.Waivers = sorted(concerning(in.Waivers, in.Repository, in.Digest, c.Now), compareWaivers)
	if c.Config == nil && c.Image != nil {
		c.Config = c.Image.Config
	}
	if c.Image != nil {
		im := *c.Image
		im.Packages = sorted(im.Packages, comparePackages)
		im.Secrets = sorted(im.Secrets, compareSecrets)
		c.Image = &im
	}
	return &c
}

// stamp cuts a time to what the wire carries.
func stamp(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// sorted returns s in order. It moves pointers until the end: the structs are
// large.
func sorted[T any](s []T, compare func(a, b *T) int) []T {
	inOrder := true
	ps := make([]*T, len(s))
	for i := range s {
		ps[i] = &s[i]
		inOrder = inOrder && (i == 0 || compare(ps[i-1], ps[i]) <= 0)
	}
	if inOrder {
		return s
	}
	slices.SortFunc(ps, compare)
	out := make([]T, len(s))
	for i, p := range ps {
		out[i] = *p
	}
	return out
}

// compareFindings is the order in which findings are listed: worst first, what
// can be fixed first among equals, then by name. The rest settles ties, so
// that only equal findings compare equal.
func compareFindings(a, b *evidence.Finding) int {
	if c := cmp.Or(
		cmp.Compare(b.Severity.Rank(), a.Severity.Rank()),
		compareBool(b.Malicious, a.Malicious),
		compareBool(b.Fixed != "", a.Fixed != ""),
	); c != 0 {
		return c
	}
	if c := cmp.Compare(a.CVE(), b.CVE()); c != 0 {
		return c
	}
	if c := cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.PURL, b.PURL), cmp.Compare(a.Path, b.Path)); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(a.Package, b.Package), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Layer, b.Layer),
		cmp.Compare(a.Fixed, b.Fixed), cmp.Compare(a.Places, b.Places), cmp.Compare(a.Score, b.Score),
		cmp.Compare(a.Vector, b.Vector), cmp.Compare(a.Summary, b.Summary), cmp.Compare(a.Ecosystem, b.Ecosystem),
		cmp.Compare(a.Severity, b.Severity), a.Known.Compare(b.Known), a.Since.Compare(b.Since),
		a.Published.Compare(b.Published), cmp.Compare(a.Source, b.Source), cmp.Compare(a.SourceVersion, b.SourceVersion), slices.Compare(a.Aliases, b.Aliases), compareDigests(&a.Set, &b.Set),
		a.Exploited.Compare(b.Exploited), a.ExploitDue.Compare(b.ExploitDue), compareBool(a.Ransomware, b.Ransomware),
		cmp.Compare(a.EPSS, b.EPSS), cmp.Compare(a.Percentile, b.Percentile),
	)
}

func comparePackages(a, b *inventory.Located) int {
	if c := cmp.Compare(a.PURL, b.PURL); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Path, b.Path); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(a.Layer, b.Layer), compareDigests(&a.Set, &b.Set),
		cmp.Compare(a.Type, b.Type), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version),
		cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Source, b.Source), cmp.Compare(a.SourceVer, b.SourceVer),
		cmp.Compare(a.Ecosystem, b.Ecosystem), slices.Compare(a.Licenses, b.Licenses),
	)
}

func compareUnchecked(a, b *Unchecked) int {
	return cmp.Or(cmp.Compare(a.Reason, b.Reason), comparePackages(&a.Package, &b.Package))
}

// compareChildren orders by digest; two entries for one digest differ in
// platform or are equal.
func compareChildren(a, b *Child) int {
	return cmp.Or(compareDigests(&a.Digest, &b.Digest), cmp.Compare(a.platform(), b.platform()), compareBool(b.Present, a.Present))
}

// compareSignatures orders by who signed; an envelope verifies once for an anchor.
func compareSignatures(a, b *evidence.Signature) int {
	return cmp.Or(
		cmp.Compare(a.Anchor, b.Anchor), cmp.Compare(a.Identity.Issuer, b.Identity.Issuer), cmp.Compare(a.Identity.Subject, b.Identity.Subject),
		cmp.Compare(a.Identity.Key, b.Identity.Key), compareDigests(&a.Referrer, &b.Referrer), compareDigests(&a.Envelope, &b.Envelope), a.At.Compare(b.At), compareDigests(&a.Index, &b.Index),
	)
}

func compareRefusals(a, b *evidence.Refusal) int {
	return cmp.Or(compareDigests(&a.Referrer, &b.Referrer), cmp.Compare(a.Form, b.Form), slices.Compare(a.Reasons, b.Reasons))
}

func compareDigests(a, b *oci.Digest) int { return cmp.Compare(a.String(), b.String()) }

func compareLifecycles(a, b *evidence.Lifecycle) int {
	return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Product, b.Product), cmp.Compare(a.Version, b.Version))
}

func compareTexts(a, b *string) int { return cmp.Compare(*a, *b) }

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
