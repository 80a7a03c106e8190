package registry

import (
	"fmt"
	"net/http"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// refused is the one rule of what is said about something that is there but
// not to be read by the caller, who has pull rights in its repository, and is no
// one that sees its own alone. at is
// the placement that stands in the way, what the digest that was asked for, and
// code that of something unknown.
//
// What is held is not there yet, for all but who brought it: 404, though the
// text says that it is held. What was denied, withdrawn or revoked is refused,
// with the sentence that the decision holds.
func refused(at *repo.Placement, what oci.Digest, code Code) error {
	name := at.Repository.String() + "@" + at.Digest.String()
	why := "see: bonded why " + name
	switch at.State {
	case repo.Admitted:
		if at.Over {
			return &fault{http.StatusForbidden, denied, ended(at), why}
		}
	case repo.Held:
		return &fault{http.StatusNotFound, code, fmt.Sprintf("%s waits in the intake of %s for its decision and cannot be pulled yet; %s", at.Digest.Short(), at.Repository, why), why}
	case repo.Denied, repo.Withdrawn, repo.Revoked:
		sentence := at.Sentence
		if sentence == "" {
			sentence = fmt.Sprintf("%s was %s; %s", name, at.State, why)
		}
		return &fault{http.StatusForbidden, denied, sentence, why}
	}
	return missing(at.Repository, what, code)
}

// ended says that the time of a placement is over.
func ended(at *repo.Placement) string {
	return fmt.Sprintf("%s@%s could stay until %s, and is withdrawn; see: bonded why %s", at.Repository, at.Digest, at.StayUntil.UTC().Format("2006-01-02 15:04:05 UTC"), at.Digest)
}

// missing says that something is not there, or not for the caller to know of.
func missing(r oci.Repository, d oci.Digest, code Code) error {
	noun := "manifest"
	if code == blobUnknown {
		noun = "blob"
	}
	return &fault{http.StatusNotFound, code, fmt.Sprintf("no %s %s in %s", noun, d, r), ""}
}

// standing tells who may read a placement what is not final about it.
func standing(h http.Header, at *repo.Placement) {
	if at.State == repo.Attached || at.State == repo.Admitted && at.StayUntil.IsZero() {
		return
	}
	name := at.Repository.String() + "@" + at.Digest.Short()
	switch {
	case at.State == repo.Held:
		warn(h, name+" is held in the intake: whoever may only pull gets it after its decision")
	case at.Over:
		warn(h, ended(at))
	case at.State == repo.Admitted:
		warn(h, name+" stays until "+at.StayUntil.UTC().Format("2006-01-02 15:04 UTC")+" and is withdrawn then; see: bonded why "+at.Digest.String())
	case at.Sentence != "":
		warn(h, at.Sentence)
	default:
		warn(h, name+" was "+string(at.State)+"; see: bonded why "+at.Digest.String())
	}
}
