package policytest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
)

// Given says what a gate is shown. Spans of time count from now: back for what
// has happened, forward for what was promised.
type Given struct {
	Kind         string            `yaml:"kind"`       // image unless said
	Repository   string            `yaml:"repository"` // GATE/app unless said
	PushedBy     string            `yaml:"pushedBy"`
	Annotations  map[string]string `yaml:"annotations"`
	ArtifactType string            `yaml:"artifactType"`
	Now          time.Time         `yaml:"now"` // 2026-11-22T06:00:00Z unless said

	Analysed *bool      `yaml:"analysed"` // false: there is no inventory yet
	Config   *RunConfig `yaml:"config"`
	NoConfig bool       `yaml:"noConfig"` // the configuration cannot be read
	Distro   Distro     `yaml:"distro"`
	Layers   []Layer    `yaml:"layers"`
	Packages []Package  `yaml:"packages"`

	Secrets []Secret `yaml:"secrets"`

	Findings  []Finding `yaml:"findings"`
	Unchecked []Package `yaml:"unchecked"`
	Snapshot  Snapshot  `yaml:"snapshot"`

	Children []Child `yaml:"children"`
	Evidence int     `yaml:"evidence"` // how many referrers it has
	// Signatures are those that verified.
	Signatures []Signature `yaml:"signatures"`
	// Unsure says, of each referrer that could not be checked, why.
	Unsure []string `yaml:"unsure"`
	// Away says, by name, which of the anchors that the gate names could not be
	// asked, and why; "absent" stands for one that is not configured.
	Away map[string]string `yaml:"away"`
	// Reverify is when the evidence has to be verified again, from now on.
	Reverify Span `yaml:"reverify"`

	Waivers []Waiver `yaml:"waivers"`
	// Approvals are what people have said for it.
	Approvals []Approval `yaml:"approvals"`
	// VEX are documents from feeds; those that came attached are signatures.
	VEX []VEX `yaml:"vex"`

	Arrivals  []Arrival       `yaml:"arrivals"` // a machine, ci, 1000h ago, unless said; one without a kind for "nobody knows"
	Bases     []Base          `yaml:"bases"`
	NoBases   bool            `yaml:"noBases"`   // nobody has looked for its bases
	FirstSeen Span            `yaml:"firstSeen"` // how long ago its content came; 1000h unless said, negative for "nobody knows"
	Admitted  Span            `yaml:"admitted"`  // how long ago, for clause stay
	Promised  map[string]Span `yaml:"promised"`  // by rule, from now on; negative when it has passed
}

// RunConfig is the part of the image configuration that gates see.
type RunConfig struct {
	User       string            `yaml:"user"`
	Env        []string          `yaml:"env"`
	Entrypoint []string          `yaml:"entrypoint"`
	Cmd        []string          `yaml:"cmd"`
	Labels     map[string]string `yaml:"labels"`
	Created    time.Time         `yaml:"created"`
}

// Distro is the operating system release; Debian 12 unless said.
type Distro struct {
	ID        string `yaml:"id"`
	Version   string `yaml:"version"`
	Name      string `yaml:"name"`
	Ecosystem string `yaml:"ecosystem"`
}

// Layer is one layer; full and as configured unless said.
type Layer struct {
	Coverage  string `yaml:"coverage"` // full, partial, ambiguous or none
	DiffID    string `yaml:"diffId"`   // ok, wrong or none; none for coverage none
	MediaType string `yaml:"mediaType"`
	Size      int64  `yaml:"size"`
	Gaps      []Gap  `yaml:"gaps"`
	Searched  string `yaml:"searched"` // for secrets: as coverage says, unless said
}

// Secret is what looks like a credential.
type Secret struct {
	Rule        string `yaml:"rule"` // private-key unless said
	Path        string `yaml:"path"`
	Line        int    `yaml:"line"`  // 1 unless said
	Layer       int    `yaml:"layer"` // -1 for the configuration
	Fingerprint string `yaml:"fingerprint"`
	Removed     bool   `yaml:"removed"`
}

// Gap is one reason why a layer is not fully covered.
type Gap struct {
	Extractor string `yaml:"extractor"`
	Path      string `yaml:"path"`
	Reason    string `yaml:"reason"`
}

// Package is a package of the image; a Debian package in dpkg's status file
// unless said. Ecosystem "-" means that it has none.
type Package struct {
	Type      string   `yaml:"type"`
	Namespace string   `yaml:"namespace"`
	Name      string   `yaml:"name"`
	Version   string   `yaml:"version"`
	Ecosystem string   `yaml:"ecosystem"`
	Licenses  []string `yaml:"licenses"`
	Path      string   `yaml:"path"`
	Layer     int      `yaml:"layer"`
	Reason    string   `yaml:"reason"` // of what is unchecked
}

// Finding is a known fault.
type Finding struct {
	ID        string   `yaml:"id"`
	Aliases   []string `yaml:"aliases"`
	Severity  string   `yaml:"severity"` // unknown unless said
	Score     float64  `yaml:"score"`
	Summary   string   `yaml:"summary"`
	Package   string   `yaml:"package"`
	Version   string   `yaml:"version"`
	Fixed     string   `yaml:"fixed"`
	Ecosystem string   `yaml:"ecosystem"`
	Path      string   `yaml:"path"`
	Layer     int      `yaml:"layer"`
	Malicious bool     `yaml:"malicious"`
	Published Span     `yaml:"published"` // how long ago
	Known     Span     `yaml:"known"`     // how long ago; 1h unless said
	Since     Span     `yaml:"since"`     // how long ago
	Exploited Span     `yaml:"exploited"` // how long ago it was first known to be
	EPSS      float64  `yaml:"epss"`
}

// Arrival is the first push into a repository.
type Arrival struct {
	Repository string `yaml:"repository"` // the one that is judged unless said
	By         string `yaml:"by"`         // ci unless said
	Kind       string `yaml:"kind"`       // human, machine, internal or anonymous
	At         Span   `yaml:"at"`         // how long ago; 1000h unless said
}

// Base is an image that it is built on.
type Base struct {
	Repository string `yaml:"repository"` // catalog/base unless said
	Layers     int    `yaml:"layers"`     // 1 unless said
	Tag        string `yaml:"tag"`
	Newer      bool   `yaml:"newer"` // the tag names something else now
}

// Snapshot is the state of the advisories: 57 000 of them, loaded an hour ago,
// unless said.
type Snapshot struct {
	Advisories int      `yaml:"advisories"`
	Age        Span     `yaml:"age"` // negative: from the future
	Ecosystems []string `yaml:"ecosystems"`
	Never      bool     `yaml:"never"` // none were ever loaded
	// Without are the other feeds that were never loaded: exploited, scores or
	// lifecycles.
	Without []string `yaml:"without"`
}

// Child is an entry of an index; present unless said.
type Child struct {
	Platform string `yaml:"platform"` // "linux/arm64"; "unknown/unknown" is evidence
	Absent   bool   `yaml:"absent"`
	Outcome  string `yaml:"outcome"`  // allow, deny or cannot-tell; nothing: not decided yet
	Act      string `yaml:"act"`      // of a deny under stay
	Until    Span   `yaml:"until"`    // from now on, with act deadline
	ValidFor Span   `yaml:"validFor"` // of its decision, from now on
}

// Signature is a signature that verified.
type Signature struct {
	Anchor  string            `yaml:"anchor"`
	Form    string            `yaml:"form"` // bundle unless said
	Issuer  string            `yaml:"issuer"`
	Subject string            `yaml:"subject"`
	Key     string            `yaml:"key"`
	Claims  map[string]string `yaml:"claims"`
	At      Span              `yaml:"at"`  // how long ago; 1h unless said
	Log     string            `yaml:"log"` // none unless said
	// Statement is what it says, in the words of bonded verify -o json: {type: …,
	// kind: test, test: {result: passed}}. Without it, it says nothing but "this".
	Statement node `yaml:"statement"`
}

// VEX is a VEX document from a feed.
type VEX struct {
	Feed       string         `yaml:"feed"`
	At         Span           `yaml:"at"` // how long ago; 1h unless said
	Statements []VEXStatement `yaml:"statements"`
}

// VEXStatement is what is said of one fault.
type VEXStatement struct {
	Vulnerability string   `yaml:"vulnerability"`
	Products      []string `yaml:"products"`
	Within        string   `yaml:"within"`
	Status        string   `yaml:"status"`
	Justification string   `yaml:"justification"`
}

// Waiver is a permission. What it is not about is not said.
type Waiver struct {
	ID           string   `yaml:"id"`           // w1, w2, … unless said
	Repositories string   `yaml:"repositories"` // the repository unless said
	Rule         string   `yaml:"rule"`
	Advisory     string   `yaml:"advisory"`
	Package      string   `yaml:"package"` // purl
	Other        bool     `yaml:"other"`   // for another digest
	Justified    string   `yaml:"justification"`
	By           []string `yaml:"by"`     // who granted it: ann unless said
	Groups       []string `yaml:"groups"` // that each of them is in
	From         Span     `yaml:"from"`   // how long ago; 1h unless said
	Until        Span     `yaml:"until"`  // from now on; 1h unless said, negative when it has ended
}

// Approval is somebody's yes.
type Approval struct {
	By     string   `yaml:"by"`
	Groups []string `yaml:"groups"`
	Reason string   `yaml:"reason"`
}

// maxEvidence is how many referrers a case may have.
const maxEvidence = 1000

// Span is a length of time in Go's notation; zero when not given.
type Span struct{ time.Duration }

// UnmarshalYAML reads "72h".
func (s *Span) UnmarshalYAML(n ast.Node) error {
	text, ok := n.(*ast.StringNode)
	if !ok {
		return fmt.Errorf("%s is no span of time: want hours and minutes, as in 72h", n)
	}
	return s.parse(text.Value)
}

func (s *Span) parse(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no span of time: want hours and minutes, as in 72h", text)
	}
	s.Duration = d
	return nil
}

// clean is what a case begins with.
func clean() Given {
	return Given{
		Kind: string(oci.KindImage), Now: time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC),
		Distro:   Distro{ID: "debian", Version: "12", Name: "Debian GNU/Linux 12", Ecosystem: "Debian:12"},
		Layers:   []Layer{{}},
		Snapshot: Snapshot{Advisories: 57_000, Age: Span{time.Hour}, Ecosystems: []string{"Debian", "Go"}},
	}
}

// check refuses what would test something else than its author thinks.
func (g *Given) check() error {
	if len(g.Layers) > oci.MaxDescriptors {
		return errors.New("too many layers")
	}
	if g.Evidence < 0 || g.Evidence > maxEvidence {
		return fmt.Errorf("evidence is %d, want 0 to %d", g.Evidence, maxEvidence)
	}
	if _, err := oci.ParseRepository(g.Repository); err != nil {
		return err
	}
	for _, f := range g.Findings {
		if s := evidence.Severity(f.Severity); s != "" && s != evidence.Unknown && s.Rank() == 0 {
			return fmt.Errorf("finding %s: severity is %q", f.ID, f.Severity)
		}
	}
	for _, l := range g.Layers {
		if !slices.Contains([]string{"", "full", "partial", "ambiguous", "none"}, l.Coverage) {
			return fmt.Errorf("coverage of a layer is %q, want full, partial, ambiguous or none", l.Coverage)
		}
		if !slices.Contains([]string{"", "full", "partial", "ambiguous", "none"}, l.Searched) {
			return fmt.Errorf("searched of a layer is %q, want full, partial, ambiguous or none", l.Searched)
		}
		if !slices.Contains([]string{"", "ok", "wrong", "none"}, l.DiffID) {
			return fmt.Errorf("diffId of a layer is %q, want ok, wrong or none", l.DiffID)
		}
	}
	for i, sig := range g.Signatures {
		if _, err := sig.statement(); err != nil {
			return fmt.Errorf("statement of signature %d: %v", i+1, err)
		}
		if sig.Anchor == "" {
			return fmt.Errorf("signature %d has no anchor", i+1)
		}
	}
	for _, a := range g.Arrivals {
		if a.Kind != "" && !slices.Contains(evidence.Bringers(), evidence.Bringer(a.Kind)) {
			return fmt.Errorf("kind of an arrival is %q, want human, machine, internal or anonymous", a.Kind)
		}
		if _, err := oci.ParseRepository(cmp.Or(a.Repository, g.Repository)); err != nil {
			return err
		}
	}
	for _, b := range g.Bases {
		if _, err := oci.ParseRepository(cmp.Or(b.Repository, "catalog/base")); err != nil {
			return err
		}
	}
	for i := range g.Waivers {
		w := g.waiver(&g.Waivers[i], i+1)
		if err := w.Validate(); err != nil {
			return fmt.Errorf("waiver %s: %v", w.ID, err)
		}
	}
	for _, c := range g.Children {
		if !slices.Contains([]string{"", "allow", "deny", "cannot-tell"}, c.Outcome) {
			return fmt.Errorf("outcome of child %s is %q, want allow, deny or cannot-tell", c.Platform, c.Outcome)
		}
	}
	return nil
}

// Input returns what the case shows to a gate. Each call makes a new one.
func (c *Case) Input() *policy.Input {
	g := &c.Given
	in := &policy.Input{
		Repository: oci.MustRepository(g.Repository), Digest: digestOf("manifest"),
		Kind: oci.Kind(g.Kind), Now: g.Now, Manifest: g.manifest(), BroughtBy: g.PushedBy, Engine: "test",
		Findings: g.findings(), Unchecked: g.unchecked(), Snapshot: g.snapshot(), Waivers: g.waivers(), Approvals: g.approvals(), VEX: g.vex(),
	}
	in.Zone, in.Arrivals = in.Repository.Zone(), g.arrivals(in.Repository)
	in.Bases, in.BasesKnown = g.bases(), !g.NoBases
	if s := cmp.Or(g.FirstSeen.Duration, 1000*time.Hour); s > 0 {
		in.FirstSeen = g.Now.Add(-s)
	}
	for i := range g.Evidence {
		in.Evidence = append(in.Evidence, digestOf(fmt.Sprint("evidence ", i)))
	}
	in.Verified = g.verified()
	if c.Clause == policy.Stay {
		in.AdmittedAt = g.Now.Add(-g.Admitted.Duration)
	}
	for rule, s := range g.Promised {
		if in.Promised == nil {
			in.Promised = map[string]time.Time{}
		}
		in.Promised[rule] = g.Now.Add(s.Duration)
	}
	switch in.Kind {
	case oci.KindImage:
		in.Config = g.config()
		if g.Analysed == nil || *g.Analysed {
			in.Image, in.InventoryDigest, in.ExtractorSet = g.image(), digestOf("inventory"), "test"
		}
	case oci.KindIndex:
		in.Children = g.children(c.Clause, in)
	}
	return in
}

// digestOf makes up a digest that is always the same for a name.
func digestOf(name string) oci.Digest { return oci.FromBytes([]byte(name)) }

func (g *Given) manifest() *oci.Manifest {
	m := &oci.Manifest{Digest: digestOf("manifest"), MediaType: oci.MediaTypeManifest, ArtifactType: g.ArtifactType, Annotations: g.Annotations}
	switch oci.Kind(g.Kind) {
	case oci.KindIndex:
		m.MediaType = oci.MediaTypeIndex
		return m
	case oci.KindImage:
		m.Config.MediaType = oci.MediaTypeConfig
	case oci.KindChart:
		m.Config.MediaType = oci.MediaTypeHelmConfig
	default:
		m.Config.MediaType = oci.MediaTypeEmpty
	}
	for i, l := range g.Layers {
		m.Layers = append(m.Layers, oci.Descriptor{
			MediaType: cmp.Or(l.MediaType, "application/vnd.oci.image.layer.v1.tar+gzip"),
			Digest:    digestOf(fmt.Sprint("layer ", i)), Size: cmp.Or(l.Size, 1<<20),
		})
	}
	return m
}

func (g *Given) config() *oci.ImageConfig {
	if g.NoConfig {
		return nil
	}
	c := &oci.ImageConfig{OS: "linux", Architecture: "amd64"}
	for i := range g.Layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digestOf(fmt.Sprint("diff ", i)))
	}
	if r := g.Config; r != nil {
		c.Config = oci.RunConfig{User: r.User, Env: r.Env, Entrypoint: r.Entrypoint, Cmd: r.Cmd, Labels: r.Labels}
		if !r.Created.IsZero() {
			c.Created = &r.Created
		}
	}
	return c
}

func (g *Given) image() *inventory.Image {
	im := &inventory.Image{
		Manifest: digestOf("manifest"), Platform: oci.Platform{OS: "linux", Architecture: "amd64"},
		Distro: inventory.Distro{ID: g.Distro.ID, VersionID: g.Distro.Version, Name: g.Distro.Name, Ecosystem: g.Distro.Ecosystem},
	}
	for i, l := range g.Layers {
		lc := inventory.LayerCoverage{Digest: digestOf(fmt.Sprint("layer ", i))}
		lc.Coverage.State = inventory.CoverageState(cmp.Or(l.Coverage, string(inventory.CoverageFull)))
		for _, gap := range l.Gaps {
			lc.Coverage.Gaps = append(lc.Coverage.Gaps, inventory.Gap{Extractor: gap.Extractor, Path: gap.Path, Reason: gap.Reason})
		}
		if l.DiffID == "none" || l.DiffID == "" && lc.Coverage.State == inventory.CoverageNone {
			lc.Uncompared = "it was not read to its end"
			if len(l.Gaps) > 0 {
				lc.Uncompared = l.Gaps[0].Reason
			}
		}
		lc.Searched.State = inventory.CoverageState(cmp.Or(l.Searched, string(lc.Coverage.State)))
		lc.DiffIDOK = l.DiffID != "wrong" && lc.Uncompared == ""
		im.Layers = append(im.Layers, lc)
	}
	for _, s := range g.Secrets {
		found := inventory.Secret{Rule: cmp.Or(s.Rule, "private-key"), Path: s.Path, Line: max(s.Line, 1), Fingerprint: s.Fingerprint}
		im.Secrets = append(im.Secrets, inventory.LocatedSecret{Secret: found, Layer: s.Layer, Removed: s.Removed})
	}
	for _, p := range g.Packages {
		im.Packages = append(im.Packages, p.located(g.Distro.Ecosystem))
	}
	return im
}

func (p *Package) located(ecosystem string) inventory.Located {
	if p.Ecosystem == "-" {
		ecosystem = ""
	}
	typ := cmp.Or(p.Type, "deb")
	l := inventory.Located{
		Package: inventory.Package{
			Type: typ, Namespace: p.Namespace, Name: p.Name, Version: p.Version, Licenses: p.Licenses,
			Ecosystem: cmp.Or(strings.Trim(p.Ecosystem, "-"), ecosystem),
		},
		Path: cmp.Or(p.Path, "var/lib/dpkg/status"), Layer: p.Layer,
	}
	l.PURL = "pkg:" + typ + "/" + strings.TrimPrefix(p.Namespace+"/"+p.Name, "/")
	if p.Version != "" {
		l.PURL += "@" + p.Version
	}
	return l
}

func (g *Given) findings() []evidence.Finding {
	var fs []evidence.Finding
	for _, f := range g.Findings {
		fs = append(fs, evidence.Finding{
			ID: f.ID, Aliases: f.Aliases, Severity: evidence.Severity(cmp.Or(f.Severity, "unknown")), Score: f.Score, Summary: f.Summary,
			Package: f.Package, PURL: "pkg:deb/debian/" + f.Package + "@" + f.Version, Version: f.Version, Fixed: f.Fixed,
			Ecosystem: cmp.Or(f.Ecosystem, g.Distro.Ecosystem), Path: cmp.Or(f.Path, "var/lib/dpkg/status"), Places: 1, Layer: f.Layer,
			Malicious: f.Malicious, Published: g.ago(f.Published), Known: g.Now.Add(-cmp.Or(f.Known.Duration, time.Hour)), Since: g.ago(f.Since),
			Exploited: g.ago(f.Exploited), EPSS: f.EPSS,
		})
	}
	return fs
}

func (g *Given) arrivals(into oci.Repository) []evidence.Arrival {
	given := g.Arrivals
	if given == nil {
		given = []Arrival{{Kind: string(evidence.Machine)}}
	}
	var all []evidence.Arrival
	for _, a := range given {
		one := evidence.Arrival{Repository: into, By: cmp.Or(a.By, "ci"), Kind: evidence.Bringer(a.Kind), At: g.Now.Add(-cmp.Or(a.At.Duration, 1000*time.Hour))}
		if a.Repository != "" {
			one.Repository = oci.MustRepository(a.Repository) // checked when the case was read
		}
		all = append(all, one)
	}
	return all
}

func (g *Given) bases() []evidence.Base {
	var all []evidence.Base
	for i, b := range g.Bases {
		one := evidence.Base{
			Repository: oci.MustRepository(cmp.Or(b.Repository, "catalog/base")), Digest: digestOf(fmt.Sprint("base ", i)), // checked when the case was read
			Layers: cmp.Or(b.Layers, 1), At: g.Now.Add(-time.Hour), Tag: b.Tag, Past: b.Newer,
		}
		if b.Newer {
			one.Newer = digestOf("newer base")
		}
		all = append(all, one)
	}
	return all
}

// ago is the moment that long ago, zero when nothing was given.
func (g *Given) ago(s Span) time.Time {
	if s.Duration == 0 {
		return time.Time{}
	}
	return g.Now.Add(-s.Duration)
}

func (g *Given) unchecked() []policy.Unchecked {
	var us []policy.Unchecked
	for _, p := range g.Unchecked {
		us = append(us, policy.Unchecked{Package: p.located(g.Distro.Ecosystem), Reason: cmp.Or(p.Reason, "no advisories for its ecosystem")})
	}
	return us
}

func (g *Given) vex() []evidence.VEXDocument {
	var docs []evidence.VEXDocument
	for i, v := range g.VEX {
		doc := evidence.VEXDocument{Feed: v.Feed, Digest: digestOf(fmt.Sprint("vex ", i)), VEX: &evidence.VEX{Format: "openvex", At: g.Now.Add(-cmp.Or(v.At.Duration, time.Hour))}}
		for _, s := range v.Statements {
			doc.VEX.Statements = append(doc.VEX.Statements, evidence.VEXStatement{
				Vulnerability: s.Vulnerability, Products: s.Products, Within: s.Within, Status: s.Status, Justification: s.Justification,
			})
		}
		docs = append(docs, doc)
	}
	return docs
}

func (g *Given) waivers() []evidence.Waiver {
	var ws []evidence.Waiver
	for i := range g.Waivers {
		ws = append(ws, g.waiver(&g.Waivers[i], i+1))
	}
	return ws
}

func (g *Given) approvals() []evidence.Word {
	var ws []evidence.Word
	for i, a := range g.Approvals {
		ws = append(ws, evidence.Word{ID: int64(i + 1), Kind: evidence.Approved, By: evidence.Grantor{Name: a.By, Groups: a.Groups, At: g.Now}, Reason: a.Reason})
	}
	return ws
}

func (g *Given) waiver(w *Waiver, n int) evidence.Waiver {
	pattern, _ := evidence.ParsePattern(cmp.Or(w.Repositories, g.Repository)) // checked when the case was read
	out := evidence.Waiver{
		ID: cmp.Or(w.ID, fmt.Sprint("w", n)), Repositories: pattern, Rule: w.Rule, Advisory: w.Advisory, Package: w.Package,
		Owner: "payments", Reason: "it is being mended", Justification: w.Justified,
		From: g.Now.Add(-cmp.Or(w.From.Duration, time.Hour)), Until: g.Now.Add(cmp.Or(w.Until.Duration, time.Hour)),
	}
	if w.Other {
		out.Digest = digestOf("other")
	}
	by := w.By
	if len(by) == 0 {
		by = []string{"ann"}
	}
	for _, name := range by {
		out.Granted = append(out.Granted, evidence.Grantor{Name: name, Groups: w.Groups, At: out.From})
	}
	return out
}

func (g *Given) snapshot() evidence.Snapshot {
	if g.Snapshot.Never {
		return evidence.Snapshot{}
	}
	s := evidence.Snapshot{
		Seq: 7, Digest: digestOf("snapshot"), At: g.Now.Add(-g.Snapshot.Age.Duration),
		Advisories: g.Snapshot.Advisories, Ecosystems: g.Snapshot.Ecosystems,
	}
	for name, at := range map[string]*oci.Digest{"exploited": &s.Exploited, "scores": &s.Scores, "lifecycles": &s.Lifecycles} {
		if !slices.Contains(g.Snapshot.Without, name) {
			*at = digestOf(name)
		}
	}
	return s
}

// verified is what came of verifying the evidence, under all anchors that the
// signatures name. Run adds those of the gate.
func (g *Given) verified() policy.Verified {
	v := policy.Verified{Digest: digestOf("anchors").Hex()}
	if g.Reverify.Duration != 0 {
		v.Until = g.Now.Add(g.Reverify.Duration)
	}
	for i, s := range g.Signatures {
		st, _ := s.statement() // checked when the case was read
		sig := evidence.Signature{
			Anchor: s.Anchor, Form: evidence.Form(cmp.Or(s.Form, string(evidence.FormBundle))),
			Identity: evidence.Identity{Issuer: s.Issuer, Subject: s.Subject, Key: s.Key, Claims: s.Claims},
			Subject:  digestOf("manifest"), At: g.Now.Add(-cmp.Or(s.At.Duration, time.Hour)),
			Referrer: digestOf(fmt.Sprint("referrer ", i)), Envelope: digestOf(fmt.Sprint("envelope ", i)), Statement: st,
		}
		if s.Log != "" {
			sig.Log = &evidence.LogEntry{Log: s.Log, Index: int64(i)}
		}
		v.Signatures = append(v.Signatures, sig)
		v.Anchors = g.anchor(v.Anchors, s.Anchor)
	}
	for i, why := range g.Unsure {
		v.Unsure = append(v.Unsure, evidence.Refusal{Referrer: digestOf(fmt.Sprint("unsure ", i)), Reasons: []string{why}, Unsure: true})
	}
	return v
}

// anchor adds an anchor once, as it is said to be.
func (g *Given) anchor(list []policy.Anchor, name string) []policy.Anchor {
	away := g.Away[name]
	if away == "absent" || slices.ContainsFunc(list, func(a policy.Anchor) bool { return a.Name == name }) {
		return list
	}
	return append(list, policy.Anchor{Name: name, Away: away})
}

// statement reads what a signature says; nil for one that says nothing but "this".
func (s *Signature) statement() (*evidence.Statement, error) {
	if s.Statement.Node == nil {
		return nil, nil
	}
	raw, err := yaml.YAMLToJSON([]byte(s.Statement.String()))
	if err != nil {
		return nil, err
	}
	st := &evidence.Statement{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(st); err != nil {
		return nil, err
	}
	st.Size = int64(len(st.Predicate))
	return st, nil
}

func (g *Given) children(clause policy.Clause, in *policy.Input) []policy.Child {
	var cs []policy.Child
	for i, c := range g.Children {
		child := policy.Child{Digest: digestOf(fmt.Sprint("child ", i)), Present: !c.Absent}
		if os, arch, ok := strings.Cut(c.Platform, "/"); ok {
			child.Platform = &oci.Platform{OS: os, Architecture: arch}
		}
		if c.Outcome != "" {
			child.Decision = c.decision(clause, in, child.Digest)
		}
		cs = append(cs, child)
	}
	return cs
}

func (c *Child) decision(clause policy.Clause, in *policy.Input, digest oci.Digest) *api.Decision {
	d := &api.Decision{
		Repository: in.Repository.String(), Digest: digest.String(), Zone: in.Zone, Clause: string(clause),
		Outcome: api.Outcome(c.Outcome), DecidedAt: in.Now,
		Reasons: []api.Reason{{Rule: "of-the-child", Outcome: api.Outcome(c.Outcome), Says: "says the child", Act: c.Act}},
	}
	if c.Until.Duration != 0 {
		d.Reasons[0].Until = in.Now.Add(c.Until.Duration)
		d.StayUntil = d.Reasons[0].Until
	}
	if c.ValidFor.Duration != 0 {
		d.ValidUntil = in.Now.Add(c.ValidFor.Duration)
	}
	return d
}
