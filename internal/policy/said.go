package policy

import (
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// What expressions see of evidence. A member that a statement of another kind
// would have is there and empty.

var (
	signaturesType = typeOver[signatureSet]("Signatures", "the signatures that say nothing but \"this\". `signatures.by(anchor, issuer, subject)`, `signatures.by(anchor, subject)` (X.509) and `signatures.by(anchor)` (bare keys) give a list of Signature; issuer and subject are patterns")
	statementsType = typeOver[statementSet]("Statements", "the statements. `statements.by(…)` gives a list of Statement in the same three ways")
)

var signatureType = typeOver("Signature", "a signature that verified", []memberOf[evidence.Signature]{
	{"anchor", types.StringType, "name of the anchor it verified for", func(s *evidence.Signature) ref.Val { return types.String(s.Anchor) }},
	{"form", types.StringType, "`bundle`, `legacy` (cosign's tags) or `notation`", func(s *evidence.Signature) ref.Val { return types.String(s.Form) }},
	{"issuer", types.StringType, "who vouched for the identity; empty for keys and X.509", func(s *evidence.Signature) ref.Val { return types.String(s.Identity.Issuer) }},
	{"subject", types.StringType, "who signed: mail address, URL or X.509 name; empty for a bare key", func(s *evidence.Signature) ref.Val { return types.String(s.Identity.Subject) }},
	{"key", types.StringType, "SHA-256 of a bare public key, hex; else empty", func(s *evidence.Signature) ref.Val { return types.String(s.Identity.Key) }},
	{"claims", textsMap, "what the certificate says beyond that, by Fulcio's names", func(s *evidence.Signature) ref.Val { return newTextMap(s.Identity.Claims) }},
	{"at", types.TimestampType, "proven time of signing; year 1 when nothing proves one", func(s *evidence.Signature) ref.Val { return types.Timestamp{Time: s.At} }},
	{"log", types.StringType, "the transparency log that has it; empty when none was needed", func(s *evidence.Signature) ref.Val { return types.String(entryOf(s).Log) }},
	{"logIndex", types.IntType, "where in the log", func(s *evidence.Signature) ref.Val { return types.Int(entryOf(s).Index) }},
	{"index", types.StringType, "digest of the index that was signed in its place; empty where it was signed itself", func(s *evidence.Signature) ref.Val { return types.String(s.Index.String()) }},
	{"referrer", types.StringType, "digest of the manifest it came in", func(s *evidence.Signature) ref.Val { return types.String(s.Referrer.String()) }},
}...)

var statementType = typeOver("Statement", "an in-toto statement whose signature verified and that names this digest, or an index that names it. `text(pointer)` reads a value of its predicate by JSON pointer: `s.text(\"/result\")`; empty where there is none", []memberOf[statementView]{
	{"type", types.StringType, "type URI of the predicate", func(s *statementView) ref.Val { return types.String(s.Statement.Type) }},
	{"kind", types.StringType, "`provenance`, `summary`, `sbom`, `scan`, `test`, `review`, `vex`, `approval`, `release`, or `unknown`", func(s *statementView) ref.Val { return types.String(s.Kind) }},
	{"signature", signatureType.typ, "who says it", func(s *statementView) ref.Val { return signatureType.wrap(s.signature) }},
	{"partial", types.BoolType, "lists or texts were longer than is kept", func(s *statementView) ref.Val { return types.Bool(s.Partial) }},
	{"provenance", provenanceType.typ, "of kind provenance", func(s *statementView) ref.Val { return provenanceType.wrap(orEmpty(s.Provenance)) }},
	{"summary", summaryType.typ, "of kind summary", func(s *statementView) ref.Val { return summaryType.wrap(orEmpty(s.Summary)) }},
	{"sbom", sbomType.typ, "of kind sbom", func(s *statementView) ref.Val { return sbomType.wrap(orEmpty(s.SBOM)) }},
	{"scan", scanType.typ, "of kind scan", func(s *statementView) ref.Val { return scanType.wrap(orEmpty(s.Scan)) }},
	{"test", testType.typ, "of kind test", func(s *statementView) ref.Val { return testType.wrap(orEmpty(s.Test)) }},
	{"review", reviewType.typ, "of kind review", func(s *statementView) ref.Val { return reviewType.wrap(orEmpty(s.Review)) }},
	{"vex", vexType.typ, "of kind vex", func(s *statementView) ref.Val { return vexType.wrap(orEmpty(s.VEX)) }},
	{"approval", approvalType.typ, "of kind approval", func(s *statementView) ref.Val { return approvalType.wrap(orEmpty(s.Approval)) }},
	{"release", releaseType.typ, "of kind release", func(s *statementView) ref.Val { return releaseType.wrap(orEmpty(s.Release)) }},
}...)

var provenanceType = typeOver("Provenance", "SLSA provenance, in the words of v1", []memberOf[evidence.Provenance]{
	{"builder", types.StringType, "id of the builder", func(p *evidence.Provenance) ref.Val { return types.String(p.Builder) }},
	{"buildType", types.StringType, "URI", func(p *evidence.Provenance) ref.Val { return types.String(p.BuildType) }},
	{"source", types.StringType, "repository it was built from, without `git+` and `.git`; empty when not said", func(p *evidence.Provenance) ref.Val { return types.String(p.Source.URI) }},
	{"revision", types.StringType, "commit", func(p *evidence.Provenance) ref.Val { return types.String(p.Revision) }},
	{"ref", types.StringType, "`refs/heads/main`", func(p *evidence.Provenance) ref.Val { return types.String(p.Ref) }},
	{"entryPoint", types.StringType, "workflow or build file", func(p *evidence.Provenance) ref.Val { return types.String(p.EntryPoint) }},
	{"invocation", types.StringType, "the run", func(p *evidence.Provenance) ref.Val { return types.String(p.Invocation) }},
	{"parameters", textsMap, "external ones, flattened with dots", func(p *evidence.Provenance) ref.Val { return newTextMap(p.Parameters) }},
	{"materials", types.NewListType(materialType.typ), "what went in", func(p *evidence.Provenance) ref.Val { return wrapAll(materialType, p.Materials) }},
	{"started", types.TimestampType, "year 1 when it does not say", func(p *evidence.Provenance) ref.Val { return types.Timestamp{Time: p.Started} }},
	{"finished", types.TimestampType, "year 1 when it does not say", func(p *evidence.Provenance) ref.Val { return types.Timestamp{Time: p.Finished} }},
	{"level", types.IntType, "SLSA build level that the table of builders grants, 0 to 3", func(p *evidence.Provenance) ref.Val { return types.Int(p.Level) }},
}...)

var materialType = typeOver("Material", "something that went in", []memberOf[evidence.Material]{
	{"uri", types.StringType, "where it is from", func(m *evidence.Material) ref.Val { return types.String(m.URI) }},
	{"digests", textsMap, "algorithm to hex", func(m *evidence.Material) ref.Val { return newTextMap(m.Digests) }},
}...)

var summaryType = typeOver("Summary", "a SLSA verification summary", []memberOf[evidence.Summary]{
	{"verifier", types.StringType, "id of who verified", func(s *evidence.Summary) ref.Val { return types.String(s.Verifier) }},
	{"at", types.TimestampType, "when; year 1 when it does not say", func(s *evidence.Summary) ref.Val { return types.Timestamp{Time: s.At} }},
	{"resource", types.StringType, "URI of what was verified", func(s *evidence.Summary) ref.Val { return types.String(s.Resource) }},
	{"policy", materialType.typ, "what it was verified by", func(s *evidence.Summary) ref.Val { return materialType.wrap(&s.Policy) }},
	{"inputs", types.NewListType(materialType.typ), "attestations it rests on", func(s *evidence.Summary) ref.Val { return wrapAll(materialType, s.Inputs) }},
	{"passed", types.BoolType, "the result", func(s *evidence.Summary) ref.Val { return types.Bool(s.Passed) }},
	{"levels", textList, "`SLSA_BUILD_LEVEL_3`, `SLSA_SOURCE_LEVEL_2`", func(s *evidence.Summary) ref.Val { return newTextList(s.Levels) }},
}...)

var sbomType = typeOver("Sbom", "a signed SBOM: what it is, not what it lists", []memberOf[evidence.SBOM]{
	{"format", types.StringType, "`spdx` or `cyclonedx`", func(s *evidence.SBOM) ref.Val { return types.String(s.Format) }},
	{"version", types.StringType, "of the format", func(s *evidence.SBOM) ref.Val { return types.String(s.Version) }},
	{"tool", types.StringType, "that made it", func(s *evidence.SBOM) ref.Val { return types.String(s.Tool) }},
	{"created", types.TimestampType, "year 1 when it does not say", func(s *evidence.SBOM) ref.Val { return types.Timestamp{Time: s.Created} }},
	{"packages", types.IntType, "how many it lists", func(s *evidence.SBOM) ref.Val { return types.Int(s.Packages) }},
}...)

var scanType = typeOver("Scan", "a vulnerability scan somebody made", append([]memberOf[evidence.Scan]{
	{"scanner", types.StringType, "URI or name", func(s *evidence.Scan) ref.Val { return types.String(s.Scanner) }},
	{"version", types.StringType, "of the scanner", func(s *evidence.Scan) ref.Val { return types.String(s.Version) }},
	{"database", types.TimestampType, "state of what it looked things up in; year 1 when it does not say", func(s *evidence.Scan) ref.Val { return types.Timestamp{Time: s.Database} }},
	{"at", types.TimestampType, "when; year 1 when it does not say", func(s *evidence.Scan) ref.Val { return types.Timestamp{Time: s.At} }},
}, countMembers()...)...)

// countMembers are how many findings of each severity a scan has.
func countMembers() []memberOf[evidence.Scan] {
	var ms []memberOf[evidence.Scan]
	for _, s := range enumerated["Finding.severity"] {
		ms = append(ms, memberOf[evidence.Scan]{s, types.IntType, "how many it found of that severity", func(sc *evidence.Scan) ref.Val { return types.Int(sc.Counts[s]) }})
	}
	return ms
}

var testType = typeOver("Test", "a test result", []memberOf[evidence.Test]{
	{"result", types.StringType, "`passed`, `warned` or `failed`", func(t *evidence.Test) ref.Val { return types.String(t.Result) }},
	{"url", types.StringType, "of the run", func(t *evidence.Test) ref.Val { return types.String(t.URL) }},
	{"passed", textList, "names of tests", func(t *evidence.Test) ref.Val { return newTextList(t.Passed) }},
	{"warned", textList, "names of tests", func(t *evidence.Test) ref.Val { return newTextList(t.Warned) }},
	{"failed", textList, "names of tests", func(t *evidence.Test) ref.Val { return newTextList(t.Failed) }},
	{"config", types.NewListType(materialType.typ), "what it was run with", func(t *evidence.Test) ref.Val { return wrapAll(materialType, t.Config) }},
}...)

var reviewType = typeOver("Review", "a code review", []memberOf[evidence.Review]{
	{"source", materialType.typ, "what was reviewed", func(r *evidence.Review) ref.Val { return materialType.wrap(&r.Source) }},
	{"reviewers", textList, "who", func(r *evidence.Review) ref.Val { return newTextList(r.Reviewers) }},
	{"approved", types.BoolType, "the result", func(r *evidence.Review) ref.Val { return types.Bool(r.Approved) }},
	{"at", types.TimestampType, "when; year 1 when it does not say", func(r *evidence.Review) ref.Val { return types.Timestamp{Time: r.At} }},
}...)

var vexType = typeOver("Vex", "statements about findings, from OpenVEX, CSAF or CycloneDX. What they say changes a finding where `vex` of the gate names who says it", []memberOf[evidence.VEX]{
	{"format", types.StringType, "`openvex`, `csaf` or `cyclonedx`", func(v *evidence.VEX) ref.Val { return types.String(v.Format) }},
	{"author", types.StringType, "as the document says", func(v *evidence.VEX) ref.Val { return types.String(v.Author) }},
	{"at", types.TimestampType, "when; year 1 when it does not say", func(v *evidence.VEX) ref.Val { return types.Timestamp{Time: v.At} }},
	{"statements", types.NewListType(vexStatementType.typ), "in the document's order", func(v *evidence.VEX) ref.Val { return wrapAll(vexStatementType, v.Statements) }},
}...)

var vexStatementType = typeOver("VexStatement", "what is said of one fault", []memberOf[evidence.VEXStatement]{
	{"vulnerability", types.StringType, "`CVE-…`", func(s *evidence.VEXStatement) ref.Val { return types.String(s.Vulnerability) }},
	{"aliases", textList, "all other ids", func(s *evidence.VEXStatement) ref.Val { return newTextList(s.Aliases) }},
	{"products", textList, "purls; empty for the artifact as a whole", func(s *evidence.VEXStatement) ref.Val { return newTextList(s.Products) }},
	{"within", types.StringType, "what the products are parts of; empty for wherever they are", func(s *evidence.VEXStatement) ref.Val { return types.String(s.Within) }},
	{"status", types.StringType, "`not_affected`, `affected`, `fixed` or `under_investigation`", func(s *evidence.VEXStatement) ref.Val { return types.String(s.Status) }},
	{"justification", types.StringType, "why it is not affected", func(s *evidence.VEXStatement) ref.Val { return types.String(s.Justification) }},
	{"impact", types.StringType, "for people", func(s *evidence.VEXStatement) ref.Val { return types.String(s.Impact) }},
}...)

var approvalType = typeOver("Approval", "a person's yes", []memberOf[evidence.Approval]{
	{"by", types.StringType, "who, as the statement says; who signed is in `signature`", func(a *evidence.Approval) ref.Val { return types.String(a.By) }},
	{"for", types.StringType, "what is approved: a zone, a rule", func(a *evidence.Approval) ref.Val { return types.String(a.For) }},
	{"reason", types.StringType, "why", func(a *evidence.Approval) ref.Val { return types.String(a.Reason) }},
	{"at", types.TimestampType, "when", func(a *evidence.Approval) ref.Val { return types.Timestamp{Time: a.At} }},
	{"until", types.TimestampType, "when it ends; year 1 when it does not", func(a *evidence.Approval) ref.Val { return types.Timestamp{Time: a.Until} }},
}...)

var releaseType = typeOver("Release", "a release", []memberOf[evidence.Release]{
	{"purl", types.StringType, "what was released", func(r *evidence.Release) ref.Val { return types.String(r.PURL) }},
	{"version", types.StringType, "of the purl", func(r *evidence.Release) ref.Val { return types.String(r.Version) }},
	{"at", types.TimestampType, "when; year 1 when it does not say", func(r *evidence.Release) ref.Val { return types.Timestamp{Time: r.At} }},
}...)

// orEmpty is what p points to, or nothing.
func orEmpty[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	return p
}

// entryOf is where a log has the signature, empty when none does.
func entryOf(s *evidence.Signature) *evidence.LogEntry { return orEmpty(s.Log) }
