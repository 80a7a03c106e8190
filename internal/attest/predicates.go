package attest

import (
	"errors"
	"strconv"
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// summary reads a SLSA verification summary, v0.2 or v1, of the build track or
// the source track.
func (f *facts) summary(p strictjson.Value) error {
	s := &evidence.Summary{
		Verifier: f.text(p.Get("verifier", "id")), At: moment(p.Get("timeVerified")),
		Resource: f.text(p.Get("resourceUri")), Policy: f.material(p.Get("policy")),
		Inputs: f.materials(p.Get("inputAttestations")),
		Levels: f.texts(p.Get("verifiedLevels")),
	}
	if s.Resource == "" {
		s.Resource = f.text(p.Get("resource_uri")) // v0.1 and drafts
	}
	if level := f.text(p.Get("policy_level")); len(s.Levels) == 0 && level != "" {
		s.Levels = []string{level} // v0.2
	}
	switch result := firstText(p.Get("verificationResult"), p.Get("verification_result")); result {
	case "PASSED":
		s.Passed = true
	case "FAILED":
	default:
		return errors.New("verificationResult is neither PASSED nor FAILED")
	}
	for level, n := range p.Get("dependencyLevels").Fields() {
		count, ok := n.Int()
		if !ok || count < 0 || f.full(len(s.Dependencies), maxList) {
			continue
		}
		if s.Dependencies == nil {
			s.Dependencies = map[string]int64{}
		}
		s.Dependencies[level] = count
	}
	if s.Verifier == "" {
		return errors.New("verifier.id is missing")
	}
	f.Kind, f.Summary = evidence.KindSummary, s
	return nil
}

func firstText(values ...strictjson.Value) string {
	for _, v := range values {
		if v.IsString() {
			return v.String()
		}
	}
	return ""
}

// scan reads cosign's vulnerability predicate and in-toto's.
func (f *facts) scan(p strictjson.Value) error {
	scanner, meta := p.Get("scanner"), p.Get("metadata")
	s := &evidence.Scan{
		Scanner: f.text(scanner.Get("uri")), Version: f.text(scanner.Get("version")),
		Database: moment(scanner.Get("db", "lastUpdate")), At: moment(meta.Get("scanFinishedOn")),
	}
	if s.Scanner == "" {
		return errors.New("scanner.uri is missing")
	}
	if result := scanner.Get("result"); result.Exists() {
		s.Counts = map[string]int{}
		for e := range result.Elements() { // in-toto
			s.Counts[severityOf(e.Get("severity"))]++
		}
		for part := range result.Get("Results").Elements() { // Trivy in cosign's
			for e := range part.Get("Vulnerabilities").Elements() {
				s.Counts[severityWord(e.Get("Severity").String())]++
			}
		}
		for e := range result.Get("matches").Elements() { // Grype in cosign's
			s.Counts[severityWord(e.Get("vulnerability", "severity").String())]++
		}
	}
	f.Kind, f.Scan = evidence.KindScan, s
	return nil
}

// severityOf takes the worst of what several sources say.
func severityOf(list strictjson.Value) string {
	worst := evidence.Unknown
	for e := range list.Elements() {
		word := evidence.Severity(severityWord(e.Get("score").Text()))
		if word.Rank() > worst.Rank() {
			worst = word
		}
	}
	return string(worst)
}

// severityWord reads a level, or a CVSS base score by the bands of FIRST.
func severityWord(text string) string {
	word := evidence.Severity(strings.ToLower(text))
	if word.Rank() > 0 {
		return string(word)
	}
	if word == "moderate" {
		return string(evidence.Medium)
	}
	score, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || score <= 0 || score > 10:
		return string(evidence.Unknown)
	case score >= 9:
		return string(evidence.Critical)
	case score >= 7:
		return string(evidence.High)
	case score >= 4:
		return string(evidence.Medium)
	}
	return string(evidence.Low)
}

// test reads in-toto's test result.
func (f *facts) test(p strictjson.Value) error {
	t := &evidence.Test{
		Result: strings.ToLower(f.text(p.Get("result"))), URL: f.text(p.Get("url")),
		Config: f.materials(p.Get("configuration")),
		Passed: f.texts(p.Get("passedTests")), Warned: f.texts(p.Get("warnedTests")), Failed: f.texts(p.Get("failedTests")),
	}
	if t.Result != "passed" && t.Result != "warned" && t.Result != "failed" {
		return errors.New("result is none of PASSED, WARNED and FAILED")
	}
	f.Kind, f.Test = evidence.KindTest, t
	return nil
}

// review reads in-toto's human review and its form for version control. The
// latter exists only for approvals.
func (f *facts) review(p strictjson.Value) error {
	r := &evidence.Review{At: moment(p.Get("reviewTime"))}
	if r.At.IsZero() {
		r.At = moment(p.Get("timestamp"))
	}
	for e := range p.Get("reviewers").Elements() {
		if f.full(len(r.Reviewers), maxList) {
			break
		}
		r.Reviewers = append(r.Reviewers, f.material(e).URI)
	}
	if one := f.material(p.Get("reviewer")); one.URI != "" {
		r.Reviewers = append(r.Reviewers, one.URI)
	}
	if len(r.Reviewers) == 0 {
		return errors.New("it names no reviewer")
	}
	if result := p.Get("result"); result.Exists() {
		switch strings.ToLower(result.Text()) {
		case "positive", "approved", "passed", "true":
			r.Approved = true
		}
	} else {
		r.Approved = p.Get("reviewers").Exists()
	}
	r.Source = f.material(p.Get("source"))
	f.Kind, f.Review = evidence.KindReview, r
	return nil
}

// release reads in-toto's release.
func (f *facts) release(p strictjson.Value) error {
	r := &evidence.Release{PURL: f.text(p.Get("purl")), At: moment(p.Get("releasedAt"))}
	if r.PURL == "" {
		return errors.New("purl is missing")
	}
	path, _, _ := strings.Cut(r.PURL, "?")
	path, _, _ = strings.Cut(path, "#")
	if at := strings.LastIndexByte(path, '@'); at > strings.LastIndexByte(path, '/') {
		r.Version = path[at+1:]
	}
	f.Kind, f.Release = evidence.KindRelease, r
	return nil
}

// TypeApproval is our predicate for a person's yes.
const TypeApproval = "https://bonded.dev/attestation/approval/v1"

func (f *facts) approval(p strictjson.Value) error {
	a := &evidence.Approval{
		By: f.text(p.Get("by")), For: f.text(p.Get("for")), Reason: f.text(p.Get("reason")),
		At: moment(p.Get("at")), Until: moment(p.Get("until")),
	}
	switch {
	case a.By == "" || a.For == "":
		return errors.New("by or for is missing")
	case p.Get("until").Exists() && a.Until.IsZero():
		return errors.New("until is no time, and an approval without an end must not come of that")
	}
	f.Kind, f.Approval = evidence.KindApproval, a
	return nil
}
