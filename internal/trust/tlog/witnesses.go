package tlog

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// WitnessAt is a witness that is asked.
type WitnessAt struct {
	// URL is its submission prefix.
	URL string
	// Verifier checks its cosignatures: ParseVerifier of its key.
	Verifier note.Verifier
}

// WitnessesOptions say who is asked to cosign.
type WitnessesOptions struct {
	Witnesses []WitnessAt
	// Quorum is how many of them must sign, at least one.
	Quorum int
	Client *http.Client
	Clock  func() time.Time
	// Deadline is how long they have. Optional: 5 seconds.
	Deadline time.Duration
	// Skew is how far from this clock the time of a cosignature may be. Optional: 5 minutes.
	Skew   time.Duration
	Logger *slog.Logger // Optional: none
}

// Witnesses ask for cosignatures: the client of c2sp.org/tlog-witness.
type Witnesses struct {
	opts    WitnessesOptions
	members []*member
	asking  sync.WaitGroup
}

// member is a witness and what it is known to have seen.
type member struct {
	WitnessAt
	turn chan struct{} // holds one while it is asked; guards size
	size int64
}

// overtakenError says that a witness has seen a larger log than it was shown.
type overtakenError struct {
	name string
	size int64
}

func (e *overtakenError) Error() string {
	return fmt.Sprintf("the witness %s has seen %d entries", e.name, e.size)
}

// Is lets errors.Is find errOvertaken.
func (e *overtakenError) Is(err error) bool { return err == errOvertaken }

var errOvertaken = errors.New("a witness has seen a larger log")

// NewWitnesses checks that the quorum can be reached, and that no witness counts twice.
func NewWitnesses(o WitnessesOptions) (*Witnesses, error) {
	if o.Quorum < 1 || o.Quorum > len(o.Witnesses) {
		return nil, fmt.Errorf("a quorum of %d among %d witnesses cannot be reached, or means nothing", o.Quorum, len(o.Witnesses))
	}
	set(&o.Deadline, 5*time.Second)
	set(&o.Skew, 5*time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Witnesses{opts: o}
	seen := map[string]bool{}
	for _, at := range o.Witnesses {
		id := at.Verifier.Name() + "+" + strconv.FormatUint(uint64(at.Verifier.KeyHash()), 16)
		if seen[id] {
			return nil, fmt.Errorf("the witness %s is named twice", id)
		}
		seen[id] = true
		at.URL = strings.TrimSuffix(at.URL, "/")
		w.members = append(w.members, &member{WitnessAt: at, turn: make(chan struct{}, 1)})
	}
	return w, nil
}

// answer is what a witness said.
type answer struct {
	line []byte // its cosignature
	err  error
}

// Cosign shows a signed checkpoint to all witnesses and returns it with their
// signatures as soon as a quorum has signed; slower ones may finish for
// themselves. prove makes the consistency proof from a smaller size. Errors match
// ErrUnwitnessed, or errOvertaken.
func (w *Witnesses) Cosign(ctx context.Context, signed []byte, prove func(from int64) ([]Hash, error)) ([]byte, error) {
	c, err := checkpointOf(signed)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.opts.Deadline)
	answers := make(chan answer, len(w.members))
	var asked sync.WaitGroup
	for _, m := range w.members {
		asked.Go(func() {
			line, err := w.ask(ctx, m, c, signed, prove)
			answers <- answer{line, err}
		})
	}
	w.asking.Go(func() { asked.Wait(); cancel() })
	return w.collect(ctx, signed, answers)
}

// collect waits for the quorum.
func (w *Witnesses) collect(ctx context.Context, signed []byte, answers <-chan answer) ([]byte, error) {
	out := bytes.Clone(signed)
	var errs []error
	for have, left := 0, len(w.members); left > 0; left-- {
		a := <-answers // each comes, at the deadline at the latest
		if a.err != nil {
			w.opts.Logger.WarnContext(ctx, "asking a witness", "error", a.err)
			errs = append(errs, a.err)
			continue
		}
		out = append(out, a.line...)
		if have++; have == w.opts.Quorum {
			return out, nil
		}
	}
	err := errors.Join(errs...)
	if errors.Is(err, errOvertaken) {
		return nil, err
	}
	return nil, fmt.Errorf("%w: fewer than %d of %d: %w", ErrUnwitnessed, w.opts.Quorum, len(w.members), err)
}

// wait returns when nobody is asked any more: by the deadline.
func (w *Witnesses) wait() { w.asking.Wait() }

// ask gets the cosignature of one witness.
func (w *Witnesses) ask(ctx context.Context, m *member, c Checkpoint, signed []byte, prove func(int64) ([]Hash, error)) ([]byte, error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("the witness %s has not answered about the checkpoint before: %w", m.Verifier.Name(), ctx.Err())
	}
	for range 3 {
		if m.size > c.Size {
			return nil, &overtakenError{m.Verifier.Name(), m.size}
		}
		proof, err := prove(m.size)
		if err != nil {
			return nil, fmt.Errorf("proving to the witness %s: %w", m.Verifier.Name(), err)
		}
		status, kind, body, err := w.post(ctx, m, m.size, proof, signed)
		if err != nil {
			return nil, fmt.Errorf("asking the witness %s: %w", m.Verifier.Name(), err)
		}
		if status == http.StatusConflict && strings.HasPrefix(kind, sizeType) {
			if m.size, err = parseSize(strings.TrimSuffix(string(body), "\n")); err != nil {
				return nil, fmt.Errorf("asking the witness %s: %w", m.Verifier.Name(), err)
			}
			continue
		}
		if status != http.StatusOK {
			return nil, fmt.Errorf("the witness %s does not sign: %d %.200q%s", m.Verifier.Name(), status, body, hint(status))
		}
		line, err := w.cosignature(m, signed, body)
		if err == nil {
			m.size = c.Size
		}
		return line, err
	}
	return nil, fmt.Errorf("the witness %s changes its mind about what it has seen", m.Verifier.Name())
}

func hint(status int) string {
	switch status {
	case http.StatusNotFound:
		return ": it does not know the origin of this log"
	case http.StatusForbidden:
		return ": it does not know the key of this log"
	case http.StatusConflict, http.StatusUnprocessableEntity:
		return ": it has seen another history of this log"
	}
	return ""
}

// post sends a question and reads the answer, under a limit.
func (w *Witnesses) post(ctx context.Context, m *member, from int64, proof []Hash, signed []byte) (status int, kind string, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL+"/add-checkpoint", bytes.NewReader(formatRequest(from, proof, signed)))
	if err != nil {
		return 0, "", nil, err
	}
	res, err := w.opts.Client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, maxNote+1))
	if err == nil && len(body) > maxNote {
		err = fmt.Errorf("%w: an answer over %d bytes", ErrMalformed, maxNote)
	}
	return res.StatusCode, res.Header.Get("Content-Type"), body, err
}

// cosignature finds the signature of a witness in its answer, "a sequence of one
// or more note signature lines", and checks that it is one of this checkpoint and
// of about now. Lines of unknown keys are ignored.
func (w *Witnesses) cosignature(m *member, signed, body []byte) ([]byte, error) {
	text, _, _ := strings.Cut(string(signed), "\n\n")
	n, err := openNote([]byte(text+"\n\n"+string(body)), m.Verifier)
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the witness %s: %w", m.Verifier.Name(), err)
	}
	at, err := signatureTime(n.Sigs[0])
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the witness %s: %w", m.Verifier.Name(), err)
	}
	if d := at.Sub(w.opts.Clock()).Abs(); d > w.opts.Skew {
		return nil, fmt.Errorf("the witness %s signs with a time that is %s from now, and may differ by %s: set its clock or this one", m.Verifier.Name(), d, w.opts.Skew)
	}
	return []byte("— " + n.Sigs[0].Name + " " + n.Sigs[0].Base64 + "\n"), nil
}

// signatureTime is the time in a verified cosignature.
func signatureTime(s note.Signature) (time.Time, error) {
	b, err := base64.StdEncoding.DecodeString(s.Base64)
	if err == nil && len(b) > 4 {
		if t, ok := cosignatureTime(b[4:]); ok {
			return time.Unix(t, 0), nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: the signature of %.80q is no cosignature/v1", ErrMalformed, s.Name)
}
