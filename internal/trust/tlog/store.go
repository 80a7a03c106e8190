package tlog

import (
	"context"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Head is a log as the store has it.
type Head struct {
	Origin string
	Size   int64
	Root   Hash
	// Checkpoint is the head, signed by the log. Only what Published holds may be
	// shown to anybody.
	Checkpoint []byte
	// Published is the newest checkpoint that the head store and the witnesses
	// have; its size is PublishedSize, at most Size.
	Published     []byte
	PublishedSize int64
}

// Full is a full tile of hashes and, at level 0, the full bundle beside it.
type Full struct {
	Level   int
	N       int64
	Root    Hash       // of the subtree the tile stands for
	Hashes  oci.Digest // of the blob with its 256 hashes
	Entries oci.Digest // of the blob with its 256 entries; zero above level 0
}

// Piece is a run of entries of which none is in a full tile: what one step left.
type Piece struct {
	Start  int64 // index of the first
	Leaves []Hash
	Bundle []byte // the entries, one after the other
}

// Step is a change of a log, all of which commits at once or not at all.
type Step struct {
	Old, New Checkpoint
	// Signed is New, signed by the log.
	Signed []byte
	// Publish says that Signed is published by the same commit.
	Publish bool
	// Full are tiles that became full, the lower levels first. Their blobs are stored.
	Full []Full
	// Tail is what is appended to the pieces; no leaves when there is nothing. With
	// any of Full, the pieces from before are dropped.
	Tail Piece
	// Index are the leaves to be found by their hash, from number Old.Size on, in
	// order. It is empty for logs without such an index.
	Index []Hash
}

// Store keeps the heads of one log and the names of its tiles. What a method
// returns was committed; on return of a change it is durable. Implementations are
// safe for concurrent use by several processes; the suite tlogtest admits one.
type Store interface {
	// Create begins the log with a head of size 0, which is published too. Errors
	// match ErrExists.
	Create(ctx context.Context, h Head) error
	// Head returns the log. Errors match ErrNoLog.
	Head(ctx context.Context) (Head, error)
	// Tail returns the log and, of the same moment, the pieces in order: the
	// entries from Size rounded down to 256 on. Errors match ErrNoLog.
	Tail(ctx context.Context) (Head, []Piece, error)
	// Tiles returns the full tiles of a level with from <= N < to, in order.
	// Those that are not there are left out.
	Tiles(ctx context.Context, level int, from, to int64) ([]Full, error)
	// Find returns for each leaf that Step.Index brought the index of the first
	// with that hash.
	Find(ctx context.Context, leaves []Hash) (map[Hash]int64, error)
	// Append commits a step. Errors match ErrConflict when the head is not
	// Step.Old, and then nothing has changed. After another error it is unknown
	// whether it has.
	Append(ctx context.Context, s *Step) error
	// Publish makes a checkpoint the published one, unless a larger one is already.
	// It is of this log's history and at most as large as the head.
	Publish(ctx context.Context, size int64, checkpoint []byte) error
}
