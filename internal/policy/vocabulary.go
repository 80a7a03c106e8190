package policy

import (
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// variable is one name that expressions can start with.
type variable struct {
	name string
	typ  *types.Type
	doc  string
	get  func(*view) ref.Val
}

// view is an input as expressions see it, made once for all rules of an
// evaluation.
type view struct {
	*Input
	layers     []layerView
	gaps       []gapView
	signatures *signatureSet // those that say nothing but "this"
	statements *statementSet
	relied     map[oci.Digest]bool // referrers that rules were told of, for the rule under way
}

// configView is the image configuration; nil inside when it could not be read.
type configView struct{ *oci.ImageConfig }

// layerView is one layer of the manifest with what is known about it.
type layerView struct {
	index      int
	descriptor oci.Descriptor
	inventory.LayerCoverage
}

// gapView is one reason why a layer is not fully covered.
type gapView struct {
	layer *layerView
	inventory.Gap
}

func newView(in *Input) *view {
	v := &view{Input: in, layers: newLayerViews(in)}
	for i := range v.layers {
		for _, g := range v.layers[i].Coverage.Gaps {
			v.gaps = append(v.gaps, gapView{&v.layers[i], g})
		}
	}
	v.signatures, v.statements = newEvidenceSets(v)
	return v
}

// newLayerViews pairs the manifest's layers with the inventory's. A layer that
// the inventory does not speak of was not analysed.
func newLayerViews(in *Input) []layerView {
	if in.Manifest == nil {
		return nil
	}
	ls := make([]layerView, len(in.Manifest.Layers))
	for i, d := range in.Manifest.Layers {
		ls[i] = layerView{i, d, inventory.LayerCoverage{
			Digest: d.Digest, Uncompared: "it was not analysed", Coverage: inventory.Coverage{State: inventory.CoverageNone},
		}}
		if in.Image != nil && i < len(in.Image.Layers) && in.Image.Layers[i].Digest == d.Digest {
			ls[i].LayerCoverage = in.Image.Layers[i]
		}
	}
	return ls
}

// coverage is the state of the whole artifact.
func (v *view) coverage() inventory.CoverageState {
	if v.Image == nil || len(v.Image.Layers) != len(v.layers) {
		return inventory.CoverageNone
	}
	return v.Image.Coverage()
}

func (v *view) distro() *inventory.Distro {
	if v.Image == nil {
		return &inventory.Distro{}
	}
	return &v.Image.Distro
}

func (v *view) packages() []inventory.Located {
	if v.Image == nil {
		return nil
	}
	return v.Image.Packages
}

// noAge is the age of advisories that were never loaded: about 292 years.
const noAge = time.Duration(1<<63 - 1)

// age is how far the advisories' time lies from now, on either side: a clock
// that jumped back does not make old advisories fresh.
func (v *view) age() time.Duration {
	if v.Snapshot.At.IsZero() {
		return noAge
	}
	if v.Snapshot.At.After(v.Now) {
		return v.Snapshot.At.Sub(v.Now)
	}
	return v.Now.Sub(v.Snapshot.At)
}

// besides names what was loaded beside the advisories.
func (v *view) besides() (names []string) {
	for _, b := range []struct {
		name string
		of   oci.Digest
	}{{"endoflife", v.Snapshot.Lifecycles}, {"epss", v.Snapshot.Scores}, {"kev", v.Snapshot.Exploited}} {
		if !b.of.IsZero() {
			names = append(names, b.name)
		}
	}
	return names
}

// variables is the table of names that expressions can start with, in the
// order of the documentation. docs/gates.md is generated from it.
var variables = []variable{
	{"artifact", artifactType.typ, "what is judged", func(v *view) ref.Val { return artifactType.wrap(v.Input) }},
	{"config", configType.typ, "the image configuration; empty for all other kinds", func(v *view) ref.Val { return configType.wrap(&configView{v.Config}) }},
	{"layers", types.NewListType(layerType.typ), "the layers, lowest first", func(v *view) ref.Val { return wrapAll(layerType, v.layers) }},
	{"coverage", coverageType.typ, "how far it was analysed", func(v *view) ref.Val { return coverageType.wrap(v) }},
	{"distro", distroType.typ, "the operating system release", func(v *view) ref.Val { return distroType.wrap(v.distro()) }},
	{"packages", types.NewListType(packageType.typ), "all packages, by purl and path", func(v *view) ref.Val { return wrapAll(packageType, v.packages()) }},
	{"findings", types.NewListType(findingType.typ), "known faults in its packages, worst first", func(v *view) ref.Val { return wrapAll(findingType, v.Findings) }},
	{"suppressed", types.NewListType(findingType.typ), "faults of which somebody whom `vex` of the gate names says that they do no harm, worst first; they are not among the findings", func(v *view) ref.Val { return wrapAll(findingType, v.suppressed) }},
	{"unchecked", types.NewListType(uncheckedType.typ), "packages that could not be matched against advisories: having no finding, they are not clean", func(v *view) ref.Val { return wrapAll(uncheckedType, v.Unchecked) }},
	{"secrets", types.NewListType(secretType.typ), "what looks like a credential in its layers and its configuration, by layer, path and line; ask `coverage.secrets` how far anybody looked", func(v *view) ref.Val { return wrapAll(secretType, v.secrets()) }},
	{"snapshot", snapshotType.typ, "the advisories that findings come from", func(v *view) ref.Val { return snapshotType.wrap(v) }},
	{"lifecycle", types.NewListType(lifecycleType.typ), "how long the releases in it are maintained, as far as anybody tells: see `snapshot.feeds`", func(v *view) ref.Val { return wrapAll(lifecycleType, v.Lifecycle) }},
	{"children", types.NewListType(childType.typ), "the entries of an index; the decision over them is built in", func(v *view) ref.Val { return wrapAll(childType, v.Children) }},
	{"signatures", signaturesType.typ, "the signatures over it that verified. They are no list: ask for those `by` somebody", func(v *view) ref.Val { return signaturesType.wrap(v.signatures) }},
	{"statements", statementsType.typ, "the in-toto statements about it whose signatures verified, likewise", func(v *view) ref.Val { return statementsType.wrap(v.statements) }},
	{"now", types.TimestampType, "the moment of the decision", func(v *view) ref.Val { return types.Timestamp{Time: v.Now} }},
	{"pushedBy", types.StringType, "name of the principal who brought it", func(v *view) ref.Val { return types.String(v.BroughtBy) }},
	{"pushedByKind", types.StringType, "what those are who pushed it on its way here: `human` if one of them is, `machine`, `internal` (the server itself) or `anonymous`; empty when nobody knows", func(v *view) ref.Val { return types.String(v.broughtBy()) }},
	{"bases", types.NewListType(baseType.typ), "images that stand in some zone and that it is built on, by their layers; those with most layers first, at most 1000", func(v *view) ref.Val { return v.bases() }},
	{"arrivals", types.NewListType(arrivalType.typ), "who pushed it first into this repository, and into each that it was promoted from; by repository", func(v *view) ref.Val { return wrapAll(arrivalType, v.Arrivals) }},
}

// objectTypes are the types of the variables, in the order of the documentation.
var objectTypes = []*objectType{artifactType, configType, layerType, gapType, coverageType, distroType, packageType, findingType, assessmentType, uncheckedType, secretType, snapshotType, lifecycleType, childType, arrivalType, baseType,
	signaturesType, statementsType, signatureType, statementType, provenanceType, materialType, summaryType, sbomType, scanType, testType, reviewType, vexType, vexStatementType, approvalType, releaseType}

var (
	textList = types.NewListType(types.StringType)
	textsMap = types.NewMapType(types.StringType, types.StringType)
)

var artifactType = typeOver("Artifact", "the manifest under judgement", []memberOf[Input]{
	{"kind", types.StringType, "`image`, `index`, `chart`, `model`, `evidence` or `other`", func(in *Input) ref.Val { return types.String(in.Kind) }},
	{"repository", types.StringType, "full name, zone first: `production/payments/api`", func(in *Input) ref.Val { return types.String(in.Repository.String()) }},
	{"path", types.StringType, "the repository without its zone: `payments/api`", func(in *Input) ref.Val { return types.String(in.Repository.Path()) }},
	{"zone", types.StringType, "the zone to be entered or stayed in", func(in *Input) ref.Val { return types.String(in.Zone) }},
	{"digest", types.StringType, "`sha256:…`", func(in *Input) ref.Val { return types.String(in.Digest.String()) }},
	{"mediaType", types.StringType, "of the manifest", func(in *Input) ref.Val { return types.String(in.Manifest.MediaType) }},
	{"artifactType", types.StringType, "as referrers are filtered by it: artifactType, else the config's media type", func(in *Input) ref.Val { return types.String(in.Manifest.EffectiveArtifactType()) }},
	{"firstSeen", types.TimestampType, "when its content came first, to whatever repository; year 1 when nobody knows", func(in *Input) ref.Val { return types.Timestamp{Time: in.FirstSeen} }},
	{"annotations", textsMap, "of the manifest, in order of keys", func(in *Input) ref.Val { return newTextMap(in.Manifest.Annotations) }},
	{"evidence", textList, "digests of the referrers that were looked at, whatever came of it: that one is there proves nothing", func(in *Input) ref.Val { return newDigestList(in.Evidence) }},
}...)

var configType = typeOver("Config", "the image configuration. It is what the builder claims", []memberOf[configView]{
	{"known", types.BoolType, "false when there is none or it could not be read; all else is empty then", func(c *configView) ref.Val { return types.Bool(c.ImageConfig != nil) }},
	{"user", types.StringType, "as written: a name or number, with a group after a colon", func(c *configView) ref.Val { return types.String(c.run().User) }},
	{"runsAsRoot", types.BoolType, "the user is none, `root` or `0`. A user of another name may still be number 0 in the image", func(c *configView) ref.Val { return types.Bool(isRoot(c.run().User)) }},
	{"env", textList, "`NAME=value`", func(c *configView) ref.Val { return newTextList(c.run().Env) }},
	{"entrypoint", textList, "the program, with its first arguments", func(c *configView) ref.Val { return newTextList(c.run().Entrypoint) }},
	{"cmd", textList, "its arguments, or the program where there is no entrypoint", func(c *configView) ref.Val { return newTextList(c.run().Cmd) }},
	{"labels", textsMap, "in order of keys", func(c *configView) ref.Val { return newTextMap(c.run().Labels) }},
	{"created", types.TimestampType, "year 1 when it does not say", func(c *configView) ref.Val { return types.Timestamp{Time: c.created()} }},
	{"os", types.StringType, "`linux`", func(c *configView) ref.Val { return types.String(c.get().OS) }},
	{"architecture", types.StringType, "`amd64`", func(c *configView) ref.Val { return types.String(c.get().Architecture) }},
	{"variant", types.StringType, "`v8`", func(c *configView) ref.Val { return types.String(c.get().Variant) }},
}...)

var layerType = typeOver("Layer", "one layer", []memberOf[layerView]{
	{"index", types.IntType, "0 for the lowest", func(l *layerView) ref.Val { return types.Int(l.index) }},
	{"digest", types.StringType, "of the blob as stored", func(l *layerView) ref.Val { return types.String(l.descriptor.Digest.String()) }},
	{"mediaType", types.StringType, "as the manifest says", func(l *layerView) ref.Val { return types.String(l.descriptor.MediaType) }},
	{"size", types.IntType, "bytes as stored", func(l *layerView) ref.Val { return types.Int(l.descriptor.Size) }},
	{"coverage", types.StringType, "`full`, `partial`, `ambiguous` (another unpacker could read it differently) or `none` (not analysed)", func(l *layerView) ref.Val { return types.String(l.Coverage.State) }},
	{"diffIdOk", types.BoolType, "its content is what the configuration says; false also for a layer that was not read to its end", func(l *layerView) ref.Val { return types.Bool(l.DiffIDOK) }},
	{"packages", types.IntType, "how many packages it brought that are still visible", func(l *layerView) ref.Val { return types.Int(l.PackageSum) }},
}...)

var gapType = typeOver("Gap", "one reason why coverage is not full", []memberOf[gapView]{
	{"layer", types.IntType, "index of the layer", func(g *gapView) ref.Val { return types.Int(g.layer.index) }},
	{"extractor", types.StringType, "empty when it concerns the whole layer", func(g *gapView) ref.Val { return types.String(g.Extractor) }},
	{"path", types.StringType, "empty when it concerns the whole layer", func(g *gapView) ref.Val { return types.String(g.Path) }},
	{"reason", types.StringType, "`file larger than 64 MiB`", func(g *gapView) ref.Val { return types.String(g.Reason) }},
}...)

var coverageType = typeOver("Coverage", "how far an image was analysed", []memberOf[view]{
	{"state", types.StringType, "the worst of its layers': `full`, `partial`, `ambiguous`, `none`; `partial` at best while its distribution is unknown", func(v *view) ref.Val { return types.String(v.coverage()) }},
	{"gaps", types.NewListType(gapType.typ), "of all layers, at most 100 of each", func(v *view) ref.Val { return wrapAll(gapType, v.gaps) }},
	{"secrets", types.StringType, "how far it was searched for secrets: the worst of its layers'", func(v *view) ref.Val { return types.String(v.searched()) }},
	{"unknownDistro", types.BoolType, "it has OS packages of a distribution that no advisories can be matched to", func(v *view) ref.Val { return types.Bool(v.Image != nil && v.Image.UnknownDistro()) }},
}...)

var distroType = typeOver("Distro", "an operating system release, from os-release", []memberOf[inventory.Distro]{
	{"known", types.BoolType, "there are advisories for it", func(d *inventory.Distro) ref.Val { return types.Bool(d.Ecosystem != "") }},
	{"id", types.StringType, "`debian`", func(d *inventory.Distro) ref.Val { return types.String(d.ID) }},
	{"version", types.StringType, "`12`", func(d *inventory.Distro) ref.Val { return types.String(d.VersionID) }},
	{"name", types.StringType, "for people", func(d *inventory.Distro) ref.Val { return types.String(d.Name) }},
	{"ecosystem", types.StringType, "`Debian:12`", func(d *inventory.Distro) ref.Val { return types.String(d.Ecosystem) }},
}...)

var packageType = typeOver("Package", "one package at one place", []memberOf[inventory.Located]{
	{"type", types.StringType, "purl type: `deb`, `apk`, `golang`, `npm`, `pypi`", func(p *inventory.Located) ref.Val { return types.String(p.Type) }},
	{"namespace", types.StringType, "of the purl, where its type has one: `@babel`", func(p *inventory.Located) ref.Val { return types.String(p.Namespace) }},
	{"name", types.StringType, "`openssl`", func(p *inventory.Located) ref.Val { return types.String(p.Name) }},
	{"version", types.StringType, "empty when its file does not tell", func(p *inventory.Located) ref.Val { return types.String(p.Version) }},
	{"arch", types.StringType, "`amd64`; empty when its file does not tell", func(p *inventory.Located) ref.Val { return types.String(p.Arch) }},
	{"source", types.StringType, "source package, empty when it has the package's name", func(p *inventory.Located) ref.Val { return types.String(p.Source) }},
	{"licenses", textList, "as declared, not normalised", func(p *inventory.Located) ref.Val { return newTextList(p.Licenses) }},
	{"ecosystem", types.StringType, "`Go`, `Debian:12`; empty when unknown", func(p *inventory.Located) ref.Val { return types.String(p.Ecosystem) }},
	{"purl", types.StringType, "`pkg:deb/debian/openssl@3.0.11-1~deb12u2?arch=amd64&distro=debian-12`", func(p *inventory.Located) ref.Val { return types.String(p.PURL) }},
	{"path", types.StringType, "the file that tells of it: `var/lib/dpkg/status`", func(p *inventory.Located) ref.Val { return types.String(p.Path) }},
	{"layer", types.IntType, "index of the layer that brought it", func(p *inventory.Located) ref.Val { return types.Int(p.Layer) }},
}...)

var findingType = typeOver("Finding", "a known fault in one package; records that are aliases of each other are one finding", []memberOf[evidence.Finding]{
	{"id", types.StringType, "the record's id: `GO-…`, `GHSA-…`, `DEBIAN-CVE-…`", func(f *evidence.Finding) ref.Val { return types.String(f.ID) }},
	{"cve", types.StringType, "the CVE id, or `id` when it has none", func(f *evidence.Finding) ref.Val { return types.String(f.CVE()) }},
	{"aliases", textList, "all other ids", func(f *evidence.Finding) ref.Val { return newTextList(f.Aliases) }},
	{"severity", types.StringType, "`critical`, `high`, `medium`, `low`, `negligible` or `unknown` (no source rated it)", func(f *evidence.Finding) ref.Val { return severityValue(f.Severity) }},
	{"score", types.DoubleType, "CVSS base score, 0 when none", func(f *evidence.Finding) ref.Val { return types.Double(f.Score) }},
	{"vector", types.StringType, "CVSS vector the score comes from", func(f *evidence.Finding) ref.Val { return types.String(f.Vector) }},
	{"summary", types.StringType, "the record's, one line", func(f *evidence.Finding) ref.Val { return types.String(f.Summary) }},
	{"package", types.StringType, "as people know it: the binary or module name", func(f *evidence.Finding) ref.Val { return types.String(f.Package) }},
	{"version", types.StringType, "the one that is there", func(f *evidence.Finding) ref.Val { return types.String(f.Version) }},
	{"fixed", types.StringType, "lowest version above that has no such fault; empty when none is known", func(f *evidence.Finding) ref.Val { return types.String(f.Fixed) }},
	{"purl", types.StringType, "of the package", func(f *evidence.Finding) ref.Val { return types.String(f.PURL) }},
	{"ecosystem", types.StringType, "`Debian:12`, `Go`", func(f *evidence.Finding) ref.Val { return types.String(f.Ecosystem) }},
	{"path", types.StringType, "where, the first of `places`", func(f *evidence.Finding) ref.Val { return types.String(f.Path) }},
	{"places", types.IntType, "how many places have it", func(f *evidence.Finding) ref.Val { return types.Int(f.Places) }},
	{"layer", types.IntType, "index of the layer that brought it", func(f *evidence.Finding) ref.Val { return types.Int(f.Layer) }},
	{"malicious", types.BoolType, "the package was published to do harm", func(f *evidence.Finding) ref.Val { return types.Bool(f.Malicious) }},
	{"published", types.TimestampType, "when the record was published; year 1 when it does not say", func(f *evidence.Finding) ref.Val { return types.Timestamp{Time: f.Published} }},
	{"known", types.TimestampType, "when the record first reached us", func(f *evidence.Finding) ref.Val { return types.Timestamp{Time: f.Known} }},
	{"exploited", types.BoolType, "it is known to be exploited: CISA's KEV catalog lists it. False also when no catalog was loaded: see `snapshot.feeds`", func(f *evidence.Finding) ref.Val { return types.Bool(!f.Exploited.IsZero()) }},
	{"exploitedSince", types.TimestampType, "since when the catalog lists it; year 1 when it does not", func(f *evidence.Finding) ref.Val { return types.Timestamp{Time: f.Exploited} }},
	{"exploitDue", types.TimestampType, "by when CISA wants it mended; year 1 when it does not say", func(f *evidence.Finding) ref.Val { return types.Timestamp{Time: f.ExploitDue} }},
	{"ransomware", types.BoolType, "it is known to be used for ransom", func(f *evidence.Finding) ref.Val { return types.Bool(f.Ransomware) }},
	{"scored", types.BoolType, "it has an EPSS score. False also when no scores were loaded: see `snapshot.feeds`", func(f *evidence.Finding) ref.Val { return types.Bool(f.EPSS > 0) }},
	{"epss", types.DoubleType, "how likely it is to be exploited within 30 days, above 0 and at most 1; 0 when it is not scored", func(f *evidence.Finding) ref.Val { return types.Double(f.EPSS) }},
	{"percentile", types.DoubleType, "how much of all that is scored is not above its score, 0 to 1", func(f *evidence.Finding) ref.Val { return types.Double(f.Percentile) }},
	{"vex", assessmentType.typ, "what somebody whom `vex` of the gate names says of it", func(f *evidence.Finding) ref.Val { return assessmentType.wrap(orEmpty(f.VEX)) }},
}...)

var assessmentType = typeOver("Assessment", "what somebody says of a finding by VEX: of several the newest, and of the same age the worst", []memberOf[evidence.Assessment]{
	{"status", types.StringType, "`not_affected`, `affected`, `fixed` or `under_investigation`; empty when nobody says anything", func(a *evidence.Assessment) ref.Val { return types.String(a.Status) }},
	{"justification", types.StringType, "why it is not affected", func(a *evidence.Assessment) ref.Val { return types.String(a.Justification) }},
	{"impact", types.StringType, "for people", func(a *evidence.Assessment) ref.Val { return types.String(a.Impact) }},
	{"by", types.StringType, "who says it: an identity, or `feed NAME`", func(a *evidence.Assessment) ref.Val { return types.String(a.By) }},
	{"at", types.TimestampType, "when; year 1 when it does not say", func(a *evidence.Assessment) ref.Val { return types.Timestamp{Time: a.At} }},
}...)

var uncheckedType = typeOver("Unchecked", "a package that could not be matched against advisories", []memberOf[Unchecked]{
	{"type", types.StringType, "purl type", func(u *Unchecked) ref.Val { return types.String(u.Package.Type) }},
	{"name", types.StringType, "as the package's own", func(u *Unchecked) ref.Val { return types.String(u.Package.Name) }},
	{"version", types.StringType, "empty when its file does not tell", func(u *Unchecked) ref.Val { return types.String(u.Package.Version) }},
	{"ecosystem", types.StringType, "empty when unknown", func(u *Unchecked) ref.Val { return types.String(u.Package.Ecosystem) }},
	{"purl", types.StringType, "of the package", func(u *Unchecked) ref.Val { return types.String(u.Package.PURL) }},
	{"path", types.StringType, "the file that tells of it", func(u *Unchecked) ref.Val { return types.String(u.Package.Path) }},
	{"layer", types.IntType, "index of the layer that brought it", func(u *Unchecked) ref.Val { return types.Int(u.Package.Layer) }},
	{"reason", types.StringType, "why", func(u *Unchecked) ref.Val { return types.String(u.Reason) }},
}...)

var snapshotType = typeOver("Snapshot", "the state of all advisories", []memberOf[view]{
	{"advisories", types.IntType, "how many are in force; 0 when none were ever loaded", func(v *view) ref.Val { return types.Int(v.Snapshot.Advisories) }},
	{"age", types.DurationType, "how long ago they were loaded; 292 years when they never were. A time in the future counts as that long ago", func(v *view) ref.Val { return types.Duration{Duration: v.age()} }},
	{"digest", types.StringType, "of the advisories in force; empty when none were ever loaded", func(v *view) ref.Val { return types.String(v.Snapshot.Digest.String()) }},
	{"ecosystems", textList, "those with at least one advisory, without release: `Debian`, `Go`", func(v *view) ref.Val { return newTextList(v.Snapshot.Ecosystems) }},
	{"feeds", textList, "what is known beside them: `kev` (what is exploited), `epss` (how likely it is to be), `endoflife` (when releases end)", func(v *view) ref.Val { return newTextList(v.besides()) }},
}...)

var lifecycleType = typeOver("Lifecycle", "how long somebody maintains a release", []memberOf[evidence.Lifecycle]{
	{"what", types.StringType, "`os` or `runtime`", func(l *evidence.Lifecycle) ref.Val { return types.String(l.What) }},
	{"product", types.StringType, "as endoflife.date calls it: `debian`, `go`, `postgresql`", func(l *evidence.Lifecycle) ref.Val { return types.String(l.Product) }},
	{"cycle", types.StringType, "the release: `12`, `1.22`", func(l *evidence.Lifecycle) ref.Val { return types.String(l.Cycle) }},
	{"version", types.StringType, "what is there", func(l *evidence.Lifecycle) ref.Val { return types.String(l.Version) }},
	{"ends", types.TimestampType, "the first moment at which it is not maintained any more; year 1 when nobody tells", func(l *evidence.Lifecycle) ref.Val { return types.Timestamp{Time: l.Ends} }},
	{"extended", types.TimestampType, "likewise of extended support; year 1 when there is none", func(l *evidence.Lifecycle) ref.Val { return types.Timestamp{Time: l.Extended} }},
	{"ended", types.BoolType, "it is not maintained any more, since when nobody tells", func(l *evidence.Lifecycle) ref.Val { return types.Bool(l.Ended) }},
}...)

var childType = typeOver("Child", "one entry of an index", []memberOf[Child]{
	{"digest", types.StringType, "of its manifest", func(c *Child) ref.Val { return types.String(c.Digest.String()) }},
	{"platform", types.StringType, "`linux/arm64`; empty when the index does not say", func(c *Child) ref.Val { return types.String(c.platform()) }},
	{"present", types.BoolType, "it is stored here", func(c *Child) ref.Val { return types.Bool(c.Present) }},
	{"evidence", types.BoolType, "it says something about another entry (`unknown/unknown`) and does not count", func(c *Child) ref.Val { return types.Bool(c.isEvidence()) }},
	{"outcome", types.StringType, "`allow`, `deny` or `cannot-tell`; empty when it has no decision yet", func(c *Child) ref.Val { return types.String(c.outcome()) }},
}...)

// severities are made once: rules compare them for every finding.
var severities = map[evidence.Severity]ref.Val{
	evidence.Unknown: types.String("unknown"), evidence.Negligible: types.String("negligible"), evidence.Low: types.String("low"),
	evidence.Medium: types.String("medium"), evidence.High: types.String("high"), evidence.Critical: types.String("critical"),
}

// severityValue maps whatever is no level to "unknown".
func severityValue(s evidence.Severity) ref.Val {
	if v, ok := severities[s]; ok {
		return v
	}
	return severities[evidence.Unknown]
}

func newDigestList(ds []oci.Digest) ref.Val {
	texts := make([]string, len(ds))
	for i, d := range ds {
		texts[i] = d.String()
	}
	return newTextList(texts)
}

func (c *configView) get() *oci.ImageConfig {
	if c.ImageConfig == nil {
		return &oci.ImageConfig{}
	}
	return c.ImageConfig
}

func (c *configView) run() *oci.RunConfig { return &c.get().Config }

func (c *configView) created() time.Time {
	if t := c.get().Created; t != nil {
		return *t
	}
	return time.Time{}
}

// isRoot reads "user[:group]" as container runtimes do; no user means root.
func isRoot(user string) bool {
	name, _, _ := strings.Cut(user, ":")
	return name == "" || name == "root" || strings.Trim(name, "0") == ""
}

// activation holds the variables of one evaluation, each made when a rule
// first asks for it. It is not safe for concurrent use.
type activation struct {
	view  *view
	made  map[string]ref.Val
	table map[string]variable
	data  []*Data
}

func newActivation(v *view, table map[string]variable, data []*Data) *activation {
	return &activation{v, make(map[string]ref.Val, len(table)), table, data}
}

// ResolveName returns the value of a variable.
func (a *activation) ResolveName(name string) (any, bool) {
	if v, ok := a.made[name]; ok {
		return v, true
	}
	decl, ok := a.table[name]
	if !ok {
		return a.datum(name)
	}
	v := decl.get(a.view)
	a.made[name] = v
	return v, true
}

// datum returns data by its name in expressions.
func (a *activation) datum(name string) (any, bool) {
	for _, d := range a.data {
		if name == dataPrefix+d.name {
			v := d.value()
			a.made[name] = v
			return v, true
		}
	}
	return nil, false
}

// Parent returns nil: there are no other variables.
func (a *activation) Parent() cel.Activation { return nil }
