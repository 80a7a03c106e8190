package vuln

import (
	"strings"

	gocvss20 "github.com/pandatix/go-cvss/20"
	gocvss30 "github.com/pandatix/go-cvss/30"
	gocvss31 "github.com/pandatix/go-cvss/31"
	gocvss40 "github.com/pandatix/go-cvss/40"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// maxVector bounds a CVSS vector; the longest of version 4.0 has 219 bytes.
const maxVector = 300

// Rating is how bad somebody says a fault is. The zero value means that nobody
// does.
type Rating struct {
	Level  evidence.Severity // "" when not rated
	Score  float64           // CVSS score in tenths, 0 when there is no vector
	Vector string            // what Score was computed from
	// Vendor says that Level is the distribution's own judgement of the fault
	// in its package, which outranks every general score.
	Vendor bool
}

// rated reports whether r says anything.
func (r Rating) rated() bool { return r.Level != "" }

// worse reports whether r is a worse rating than o, by level, then score.
func (r Rating) worse(o Rating) bool {
	if a, b := r.Level.Rank(), o.Level.Rank(); a != b {
		return a > b
	}
	return r.Score > o.Score
}

// or fills what r does not say from o: everything when r rates nothing, the
// score when r is a level alone.
func (r Rating) or(o Rating) Rating {
	if !r.rated() {
		return o
	}
	if r.Vector == "" {
		r.Score, r.Vector = o.Score, o.Vector
	}
	return r
}

// severity is one entry of OSV's severity lists.
type severity struct {
	Type  looseString `json:"type"`
	Score looseString `json:"score"`
}

// specifics holds what is read of database_specific and ecosystem_specific,
// objects that each database fills as it likes.
type specifics struct {
	Severity      looseString `json:"severity"`      // GitHub, Bitnami: LOW, MODERATE, …
	Urgency       looseString `json:"urgency"`       // Debian
	CVSS          looseString `json:"cvss"`          // RustSec
	Informational looseString `json:"informational"` // RustSec
}

// rate derives a rating from everything that rates one record, or one affected
// package of it: the vendor's own level, else the newest CVSS vector, else the
// word that a database uses.
func rate(list []severity, specs ...specifics) Rating {
	var vendor, word evidence.Severity
	var best Rating
	var newest int
	vectors := make([]string, 0, 4)
	for _, s := range list {
		if s.Type == "Ubuntu" {
			vendor = levelOfWord(string(s.Score))
			continue
		}
		vectors = append(vectors, string(s.Score))
	}
	for _, s := range specs {
		vectors = append(vectors, string(s.CVSS))
		vendor = firstLevel(vendor, levelOfUrgency(string(s.Urgency)))
		word = firstLevel(word, levelOfWord(string(s.Severity)), levelOfInformational(string(s.Informational)))
	}
	for _, v := range vectors {
		if r, version := rateVector(v); version > newest {
			best, newest = r, version
		}
	}
	if !best.rated() {
		best.Level = word
	}
	if vendor != "" {
		best.Level, best.Vendor = vendor, true
	}
	return best
}

func firstLevel(levels ...evidence.Severity) evidence.Severity {
	for _, l := range levels {
		if l != "" {
			return l
		}
	}
	return ""
}

// levelOfWord reads the words that databases use, "" for any other.
func levelOfWord(w string) evidence.Severity {
	switch strings.ToLower(w) {
	case "none", "negligible":
		return evidence.Negligible
	case "low":
		return evidence.Low
	case "moderate", "medium":
		return evidence.Medium
	case "important", "high":
		return evidence.High
	case "critical":
		return evidence.Critical
	}
	return ""
}

// levelOfUrgency reads Debian's urgencies:
// https://security-team.debian.org/security_tracker.html#severity-levels.
// "not yet assigned" and "end-of-life" rate nothing.
func levelOfUrgency(u string) evidence.Severity {
	if u == "unimportant" {
		return evidence.Negligible
	}
	return levelOfWord(strings.TrimRight(u, "*"))
}

// levelOfInformational reads RustSec's kinds of records that are no
// vulnerability: https://github.com/rustsec/advisory-db#advisory-format.
func levelOfInformational(kind string) evidence.Severity {
	switch kind {
	case "unmaintained", "notice":
		return evidence.Negligible
	case "unsound":
		return evidence.Low
	}
	return ""
}

// levelOfTitle reads the word with which Red Hat and its rebuilds begin the
// title of a security advisory: "Important: openssl security update".
func levelOfTitle(title string) evidence.Severity {
	word, _, ok := strings.Cut(title, ":")
	if !ok {
		return ""
	}
	return levelOfWord(word)
}

// rateVector computes score and level of a CVSS vector, and returns the
// version as a number to compare: 20, 30, 31, 40; 0 for what is no vector.
func rateVector(vector string) (Rating, int) {
	if vector == "" || len(vector) > maxVector {
		return Rating{}, 0
	}
	version, score, err := scoreVector(vector)
	if err != nil || score < 0 || score > 10 {
		return Rating{}, 0
	}
	return Rating{Level: levelOfScore(score, version), Score: score, Vector: vector}, version
}

// scoreVector returns the version of a vector by its prefix, 2.0 without one,
// and its score.
func scoreVector(vector string) (version int, score float64, err error) {
	switch {
	case strings.HasPrefix(vector, "CVSS:4.0/"):
		v, err := gocvss40.ParseVector(vector)
		if err != nil {
			return 40, 0, err
		}
		return 40, v.Score(), nil
	case strings.HasPrefix(vector, "CVSS:3.1/"):
		v, err := gocvss31.ParseVector(vector)
		if err != nil {
			return 31, 0, err
		}
		return 31, v.BaseScore(), nil
	case strings.HasPrefix(vector, "CVSS:3.0/"):
		v, err := gocvss30.ParseVector(vector)
		if err != nil {
			return 30, 0, err
		}
		return 30, v.BaseScore(), nil
	}
	v, err := gocvss20.ParseVector(strings.Trim(vector, "()"))
	if err != nil {
		return 20, 0, err
	}
	return 20, v.BaseScore(), nil
}

// levelOfScore is the "Qualitative Severity Rating Scale" of CVSS 3.x and 4.0;
// for 2.0 the bands of the NVD, which end with high.
func levelOfScore(score float64, version int) evidence.Severity {
	switch {
	case score >= 9 && version > 20:
		return evidence.Critical
	case score >= 7:
		return evidence.High
	case score >= 4:
		return evidence.Medium
	case score > 0:
		return evidence.Low
	}
	return evidence.Negligible
}

// general returns what of r holds for the fault wherever it is: a vendor's
// level is about its own package.
func (r Rating) general() Rating {
	if !r.Vendor {
		return r
	}
	g, _ := rateVector(r.Vector)
	return g
}
