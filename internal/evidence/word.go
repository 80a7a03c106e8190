package evidence

import (
	"github.com/bonded-dev/bonded/internal/oci"
)

// Word is what somebody has said to the server about a placement, and has not
// taken back.
type Word struct {
	ID         int64
	Kind       WordKind
	Repository oci.Repository
	Digest     oci.Digest
	By         Grantor
	Reason     string
}

// WordKind is what a word says.
type WordKind string

// The kinds of words.
const (
	// Approved: it may come into the repository, or stay there, as far as its
	// gate leaves that to people.
	Approved WordKind = "approved"
	// Stopped: it is not to be promoted from the repository.
	Stopped WordKind = "stopped"
)

// WordIDs returns the IDs of words, in their order; nil for none.
func WordIDs(words []Word) []int64 {
	var ids []int64
	for i := range words {
		ids = append(ids, words[i].ID)
	}
	return ids
}
