package tlog

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// maxNote bounds a signed checkpoint, in bytes: a few hundred and a line for
// each signature.
const maxNote = 64 << 10

// Checkpoint is the head of a log as it is signed: c2sp.org/tlog-checkpoint.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   Hash
}

// Text is what is signed: the checkpoint without extension lines.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// ParseCheckpoint reads the text of a note, which has been verified or will be.
// Extension lines are allowed and ignored. Errors match ErrMalformed.
func ParseCheckpoint(text string) (Checkpoint, error) {
	bad := func(why string) (Checkpoint, error) {
		return Checkpoint{}, fmt.Errorf("%w: a checkpoint %s", ErrMalformed, why)
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[len(lines)-1] != "" || len(text) > maxNote {
		return bad("has at least three lines, each with its end")
	}
	for _, line := range lines[:len(lines)-1] {
		if line == "" {
			return bad("has no empty lines")
		}
	}
	size, err := parseSize(lines[1])
	if err != nil {
		return bad("has its size in decimal in the second line")
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return bad("has its root hash in the third line, 32 bytes in base64")
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, nil
}

// parseSize reads a decimal number without leading zeroes.
func parseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > maxSize || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%w: %.40q is no size", ErrMalformed, s)
	}
	return n, nil
}

func parseHash(s string) (h Hash, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(h) || len(s) != base64.StdEncoding.EncodedLen(len(h)) {
		return h, fmt.Errorf("%w: %.60q is no hash", ErrMalformed, s)
	}
	return Hash(b), nil
}

// OpenCheckpoint verifies a signed checkpoint: its first line is the origin, and
// the verifier, which must have the origin as its name, has signed it. Errors
// that say the signature is wrong or missing match ErrSignature, others ErrMalformed.
func OpenCheckpoint(signed []byte, origin string, v note.Verifier) (Checkpoint, error) {
	n, err := openNote(signed, v)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != origin {
		return Checkpoint{}, fmt.Errorf("%w: the checkpoint is of %.80q, not of %q", ErrSignature, c.Origin, origin)
	}
	return c, nil
}

// PeekCheckpoint reads a signed checkpoint without verifying it, for who has it
// from the log itself. Errors match ErrMalformed.
func PeekCheckpoint(signed []byte) (Checkpoint, error) { return checkpointOf(signed) }

// checkpointOf reads a signed checkpoint without verifying it: for those this
// program stored itself, and before the key is known.
func checkpointOf(signed []byte) (Checkpoint, error) {
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok || len(signed) > maxNote {
		return Checkpoint{}, fmt.Errorf("%w: a checkpoint without signatures, or a large one", ErrMalformed)
	}
	return ParseCheckpoint(text + "\n")
}
