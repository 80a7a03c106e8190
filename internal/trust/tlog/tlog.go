// Package tlog is a transparency log: entries in an append-only Merkle tree
// (RFC 6962) whose heads are signed, kept as tiles (c2sp.org/tlog-tiles,
// c2sp.org/static-ct-api) in a blob store and as rows in a Store.
//
// The transparency log, the CT log and the audit log are each a Log, and differ
// in how they call it:
//
//   - Rekor: Open with Dedupe, Start, and for each request Add(ctx, entry) with an
//     entry of Plain. What it returns is the answer: index, checkpoint, proof. An
//     entry that was there before is returned with its old index.
//   - CT: Open with Layout StaticCT, Start, and AddAt(ctx, make), whose function is
//     given the index, which is part of the entry.
//   - Audit: Append(ctx, entries, commit), whose function runs the caller's own
//     transaction and writes the Step in it (db: Tx.AppendTiles), so that the rows
//     leave the outbox in the commit that puts them into the log.
//
// All of them may run in any number of processes on one Store. A log is begun
// once, by Create; Open never does that.
//
// Full tiles are blobs, stored before the commit that names them. The commit
// writes the names of tiles that became full, the entries that are in no full
// tile yet, and the head, by compare-and-swap on the head before. So a crash
// leaves blobs that nobody names, at most. A head is signed before that commit and
// leaves the process after it: then it goes to the head store, to the witnesses,
// and only then is it published and what waits for it acknowledged.
package tlog

import (
	"errors"

	sumdb "golang.org/x/mod/sumdb/tlog"
)

// Errors that callers may test for.
var (
	// ErrNoLog is returned where Create has not been called.
	ErrNoLog = errors.New("there is no such log")
	// ErrExists is returned by Create for a log that is there.
	ErrExists = errors.New("the log exists")
	// ErrConflict is returned by a Store whose head is not the one a step began
	// from. The Log takes the step again from the head that is there.
	ErrConflict = errors.New("the log was appended to meanwhile")
	// ErrBehind: the database is older than the head store. It was restored from a
	// backup, and appending to it would make a second history.
	ErrBehind = errors.New("the database is behind the head store")
	// ErrFork: two heads of one log cannot be of one history.
	ErrFork = errors.New("the log has two histories")
	// ErrOrigin: the log in the store has another name than the one it is opened by.
	ErrOrigin = errors.New("the log has another origin")
	// ErrDamaged: what the log consists of does not fit together.
	ErrDamaged = errors.New("the log is damaged")
	// ErrUnwitnessed: too few witnesses signed in time. It says nothing about
	// whether the entry is in the log; it is not published yet. Try again later.
	ErrUnwitnessed = errors.New("too few witnesses have signed")
	// ErrBusy: too much waits already. Try again later.
	ErrBusy = errors.New("the log has too much to do")
	// ErrStopped is returned by a log that was stopped, or not started.
	ErrStopped = errors.New("the log is not running")
	// ErrTooLarge is returned for an entry over the limit of its layout.
	ErrTooLarge = errors.New("the entry is too large")
	// ErrNotFound is returned for a tile, an entry or a leaf that the log does not have.
	ErrNotFound = errors.New("not in the log")
	// ErrStranger is returned by an HTTPSource whose reader is not known there, or
	// not any more.
	ErrStranger = errors.New("the server does not know who asks")
	// ErrRefused is returned by an HTTPSource whose reader may not read the log.
	ErrRefused = errors.New("the server does not show the log")
	// ErrProof is returned for a proof that does not prove.
	ErrProof = errors.New("the proof is wrong")
	// ErrMalformed matches errors about foreign bytes that are not what they should be.
	ErrMalformed = errors.New("malformed")
)

// Hash is a SHA-256 hash of a leaf, of a node, or of the tree.
type Hash = sumdb.Hash

// Entry is what is appended.
type Entry struct {
	// Bundle is the entry as it stands in its bundle, framed as the layout of the
	// log wants it.
	Bundle []byte
	// Leaf is its hash in the tree.
	Leaf Hash
}

// Plain returns data as an entry of the layout Plain: at most MaxEntry bytes.
// Errors match ErrTooLarge.
func Plain(data []byte) (Entry, error) {
	b, err := frame(data)
	return Entry{Bundle: b, Leaf: LeafHash(data)}, err
}

// LeafHash is the hash of the leaf data: RFC 6962, section 2.1.
func LeafHash(data []byte) Hash { return sumdb.RecordHash(data) }

// EmptyRoot is the root of a log without entries.
func EmptyRoot() Hash {
	h, err := sumdb.TreeHash(0, nil)
	if err != nil { // nothing is read
		panic(err)
	}
	return h
}
