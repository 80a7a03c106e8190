package audit

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Seen is what somebody remembers of a log from one verification to the next:
// the key it goes by, and heads that were signed by it.
type Seen struct {
	Origin string `json:"origin"`
	Key    string `json:"key"` // NAME+ID+KEY
	// Root is the SHA-256, in hex, of the TUF root that the keys follow from; ""
	// where somebody gave the key.
	Root string `json:"root,omitempty"`
	// Former are keys of the log that were replaced, by which heads were signed.
	Former []string `json:"former,omitempty"`
	// Witnesses are keys of those whose cosignatures count, Quorum how many must sign.
	Witnesses []string   `json:"witnesses,omitempty"`
	Quorum    int        `json:"quorum,omitempty"`
	Heads     []SeenHead `json:"heads"` // by size
}

// SeenHead is a head, as it was signed: with another of the same log that does
// not fit it is evidence.
type SeenHead struct {
	At     time.Time `json:"at"`
	Signed string    `json:"signed"`
}

// maxSeen bounds a file of Seen, in bytes.
const maxSeen = 4 << 20

// ParseSeen reads what Encode wrote. Errors match tlog.ErrMalformed.
func ParseSeen(b []byte) (*Seen, error) {
	var s Seen
	if len(b) > maxSeen {
		return nil, fmt.Errorf("%w: it has %d bytes, over the limit of %d", tlog.ErrMalformed, len(b), maxSeen)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%w: %v", tlog.ErrMalformed, err)
	}
	if _, _, err := s.Keys(); err != nil {
		return nil, err
	}
	return &s, nil
}

// Encode returns it as it is kept.
func (s *Seen) Encode() []byte {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil { // strings, numbers and times always marshal
		panic("audit: encoding what was seen: " + err.Error())
	}
	return append(b, '\n')
}

// Keys returns the verifiers. Errors match tlog.ErrMalformed.
func (s *Seen) Keys() (log note.Verifier, witnesses []note.Verifier, err error) {
	if log, err = tlog.ParseVerifier(s.Key); err != nil {
		return nil, nil, err
	}
	if log.Name() != s.Origin {
		return nil, nil, fmt.Errorf("%w: the key %.100q is not named after the log %.100q", tlog.ErrMalformed, s.Key, s.Origin)
	}
	for _, w := range s.Witnesses {
		v, err := tlog.ParseVerifier(w)
		if err != nil {
			return nil, nil, err
		}
		witnesses = append(witnesses, v)
	}
	if s.Quorum < 0 || s.Quorum > len(witnesses) {
		return nil, nil, fmt.Errorf("%w: %d of %d witnesses", tlog.ErrMalformed, s.Quorum, len(witnesses))
	}
	return log, witnesses, nil
}

// Known returns the heads, verified again. Errors match tlog.ErrSignature and
// tlog.ErrMalformed.
func (s *Seen) Known() ([]tlog.Known, error) {
	var all []tlog.Known
	for _, h := range s.Heads {
		c, err := s.open([]byte(h.Signed))
		if err != nil {
			return nil, fmt.Errorf("reading the head that was seen on %s: %w", h.At.Format(time.RFC3339), err)
		}
		all = append(all, tlog.Known{From: "this user, on " + h.At.Format(time.RFC3339) + ",", Checkpoint: c})
	}
	return all, nil
}

// open opens a head that the key of the log, or one before it, has signed.
func (s *Seen) open(signed []byte) (c tlog.Checkpoint, err error) {
	for _, key := range append([]string{s.Key}, s.Former...) {
		v, err := tlog.ParseVerifier(key)
		if err != nil {
			return c, err
		}
		if c, err = tlog.OpenCheckpoint(signed, s.Origin, v); !errors.Is(err, tlog.ErrSignature) {
			return c, err
		}
	}
	return c, fmt.Errorf("%w: no key of the log %s that is known here", tlog.ErrSignature, s.Origin)
}

// Last returns the largest head; false when none was seen.
func (s *Seen) Last() (SeenHead, tlog.Checkpoint, bool) {
	known, err := s.Known()
	if err != nil || len(known) == 0 {
		return SeenHead{}, tlog.Checkpoint{}, false
	}
	return s.Heads[len(s.Heads)-1], known[len(known)-1].Checkpoint, true
}

// newestHeads is how many of the newest heads are all remembered.
const newestHeads = 8

// Remember adds a head that was verified to go on from the others. Of older ones
// those stay that are twice as large as the one before: a log that was set back
// can then be held against some of them.
func (s *Seen) Remember(signed []byte, at time.Time) error {
	v, _, err := s.Keys()
	if err != nil {
		return err
	}
	c, err := tlog.OpenCheckpoint(signed, s.Origin, v)
	if err != nil {
		return err
	}
	known, err := s.Known()
	if err != nil {
		return err
	}
	if n := len(known); n > 0 && known[n-1].Checkpoint.Size >= c.Size {
		return nil
	}
	sizes := make([]int64, 0, len(known)+1)
	for _, k := range known {
		sizes = append(sizes, k.Checkpoint.Size)
	}
	sizes = append(sizes, c.Size)
	heads := append(slices.Clone(s.Heads), SeenHead{at.UTC(), string(signed)})
	s.Heads = nil
	last := -1
	for i, h := range heads {
		if class := bits.Len64(uint64(sizes[i])); class != last || i >= len(heads)-newestHeads {
			s.Heads, last = append(s.Heads, h), class
		}
	}
	return nil
}

// FormatHead is a head in one word, for people to compare: SIZE:ROOT, in hex.
func FormatHead(size int64, root tlog.Hash) string {
	return strconv.FormatInt(size, 10) + ":" + hex.EncodeToString(root[:])
}

// ReadHead reads a head that somebody else has seen: one that FormatHead wrote, or
// a checkpoint, which must be signed by the log. Errors match tlog.ErrMalformed
// and tlog.ErrSignature.
func ReadHead(v note.Verifier, text string) (tlog.Checkpoint, error) {
	if strings.Contains(text, "\n\n") {
		return tlog.OpenCheckpoint([]byte(text), v.Name(), v)
	}
	return ParseHead(v.Name(), text)
}

// ParseHead reads a head that FormatHead wrote. Errors match tlog.ErrMalformed.
func ParseHead(origin, s string) (tlog.Checkpoint, error) {
	size, root, ok := strings.Cut(strings.TrimSpace(s), ":")
	n, err := strconv.ParseInt(size, 10, 62)
	b, herr := hex.DecodeString(root)
	if !ok || err != nil || n < 0 || herr != nil || len(b) != len(tlog.Hash{}) {
		return tlog.Checkpoint{}, fmt.Errorf("%w: %.100q is no head, which is SIZE:ROOT as bonded audit verify prints it", tlog.ErrMalformed, s)
	}
	return tlog.Checkpoint{Origin: origin, Size: n, Root: tlog.Hash(b)}, nil
}
