package audit

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Proof is an event with the proof that it is in the log: c2sp.org/tlog-proof@v1,
// with the event as extra data.
type Proof struct {
	Event []byte
	Index int64 // its number less one
	// Hashes are the inclusion proof in the tree of Checkpoint, which is signed.
	Hashes     []tlog.Hash
	Checkpoint []byte
}

const (
	proofHeader = "c2sp.org/tlog-proof@v1"
	// maxProofFile bounds a file with a proof: an event in base64, 63 hashes and a
	// checkpoint.
	maxProofFile = 256 << 10
	maxHashes    = 63
)

// Prove proves the event of a number in the published log, and verifies that.
func Prove(ctx context.Context, src tlog.Source, origin string, v note.Verifier, seq int64) (*Proof, error) {
	signed, err := src.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	c, err := tlog.OpenCheckpoint(signed, origin, v)
	if err != nil {
		return nil, err
	}
	e, hashes, err := tlog.Prove(ctx, src, tlog.PlainEntries, c, seq-1)
	if err != nil {
		return nil, err
	}
	return &Proof{Event: e.Data, Index: seq - 1, Hashes: hashes, Checkpoint: signed}, nil
}

// Encode returns the proof as it stands in a file.
func (p *Proof) Encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nextra %s\nindex %d\n", proofHeader, base64.StdEncoding.EncodeToString(p.Event), p.Index)
	for _, h := range p.Hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteByte('\n')
	b.Write(p.Checkpoint)
	return b.Bytes()
}

// ParseProof reads a file with a proof, which proves nothing before Verify.
// Errors match tlog.ErrMalformed.
func ParseProof(b []byte) (*Proof, error) {
	bad := func(format string, operands ...any) (*Proof, error) {
		return nil, fmt.Errorf("%w: a proof %s", tlog.ErrMalformed, fmt.Sprintf(format, operands...))
	}
	if len(b) > maxProofFile {
		return bad("of %d bytes, over the limit of %d", len(b), maxProofFile)
	}
	head, checkpoint, ok := strings.Cut(string(b), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || lines[0] != proofHeader || len(lines) < 3 {
		return bad("begins with %s, the event, its index, hashes and an empty line", proofHeader)
	}
	p := &Proof{Checkpoint: []byte(checkpoint)}
	extra, ok := strings.CutPrefix(lines[1], "extra ")
	if p.Event = decode(extra); !ok || p.Event == nil {
		return bad("has the event in base64 in its second line, after %q", "extra ")
	}
	index, ok := strings.CutPrefix(lines[2], "index ")
	n, err := strconv.ParseInt(index, 10, 63)
	if !ok || err != nil || n < 0 || strconv.FormatInt(n, 10) != index {
		return bad("has the index in decimal in its third line, after %q", "index ")
	}
	p.Index = n
	if len(lines)-3 > maxHashes {
		return bad("has at most %d hashes", maxHashes)
	}
	for _, line := range lines[3:] {
		h := decode(line)
		if len(h) != len(tlog.Hash{}) {
			return bad("has a hash in base64 in each further line")
		}
		p.Hashes = append(p.Hashes, tlog.Hash(h))
	}
	return p, nil
}

// decode reads base64 that there is one way to write; nil for anything else.
func decode(s string) []byte {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || base64.StdEncoding.EncodeToString(b) != s {
		return nil
	}
	return b
}

// Verify checks that the log of the origin and key has the event where the proof
// says. Errors match tlog.ErrSignature, tlog.ErrMalformed and tlog.ErrProof.
func (p *Proof) Verify(origin string, v note.Verifier) (tlog.Checkpoint, error) {
	c, err := tlog.OpenCheckpoint(p.Checkpoint, origin, v)
	if err != nil {
		return c, err
	}
	return c, tlog.VerifyInclusion(p.Hashes, c, p.Index, tlog.LeafHash(p.Event))
}
