package evidence

import "github.com/bonded-dev/bonded/internal/oci"

// Vouches reports whether a signature over an index speaks for what the index
// names, too. Whoever signs an index has signed the list of digests in it, so a
// signature of it, and what is said of how the whole came about or of leave that
// it has, hold for each. What somebody measured (an SBOM, a scan, a test, VEX) is
// of the bytes that were looked at, mostly one platform's; a summary of
// verification may leave out what was not there; and of an unknown predicate
// nobody knows.
func (s *Signature) Vouches() bool {
	if s.Statement == nil {
		return true
	}
	switch s.Statement.Kind {
	case KindProvenance, KindReview, KindApproval, KindRelease:
		return true
	}
	return false
}

// Lent returns those of the signatures over an index that vouch for what it names,
// as signatures of that.
func Lent(index oci.Digest, sigs []Signature) []Signature {
	var lent []Signature
	for _, s := range sigs {
		if s.Subject == index && s.Vouches() {
			s.Index = index
			lent = append(lent, s)
		}
	}
	return lent
}
