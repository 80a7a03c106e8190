package tlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// WitnessStore keeps what a witness has cosigned: one checkpoint for each origin.
type WitnessStore interface {
	// Latest returns the newest one; of an origin never seen, one of size 0 with
	// the root of no entries.
	Latest(ctx context.Context, origin string) (Checkpoint, error)
	// Swap replaces old, which Latest returned, by next, and keeps it as it was
	// signed. On return it is durable. Errors match ErrConflict when the latest is
	// not old; then nothing has changed.
	Swap(ctx context.Context, old, next Checkpoint, signed []byte) error
}

// WitnessOptions are what a witness works with.
type WitnessOptions struct {
	// Signer makes the cosignatures: NewCosigner.
	Signer note.Signer
	// Logs are the keys of each log that is witnessed, by its origin.
	Logs   map[string][]note.Verifier
	Store  WitnessStore
	Logger *slog.Logger // Optional: none
}

// Witness cosigns the checkpoints of other logs, each only when it goes on from
// all that were cosigned before: c2sp.org/tlog-witness.
type Witness struct{ opts WitnessOptions }

// NewWitness makes a witness.
func NewWitness(o WitnessOptions) *Witness {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Witness{o}
}

// refusal is an answer without a cosignature.
type refusal struct {
	status int
	kind   string // content type; "" for text
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

// ServeHTTP answers POST …/add-checkpoint.
func (w *Witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Cache-Control", "no-store")
	if !strings.HasSuffix(r.URL.Path, "/add-checkpoint") {
		http.Error(rw, "a witness has add-checkpoint and nothing else", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodPost {
		rw.Header().Set("Allow", "POST")
		http.Error(rw, "add-checkpoint is asked by POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxRequest))
	if err != nil {
		http.Error(rw, fmt.Sprintf("reading the request, which may have %d bytes: %v", maxRequest, err), http.StatusBadRequest)
		return
	}
	line, err := w.AddCheckpoint(r.Context(), body)
	var no *refusal
	switch {
	case errors.As(err, &no):
		w.opts.Logger.WarnContext(r.Context(), "refusing to cosign", "status", no.status, "reason", no.text)
		if no.kind != "" {
			rw.Header().Set("Content-Type", no.kind)
			rw.WriteHeader(no.status)
			_, _ = io.WriteString(rw, no.text)
			return
		}
		http.Error(rw, no.text, no.status)
	case err != nil:
		w.opts.Logger.ErrorContext(r.Context(), "cosigning", "error", err)
		http.Error(rw, "the witness cannot answer now", http.StatusInternalServerError)
	default:
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = rw.Write(line)
	}
}

// AddCheckpoint answers the body of a request with a line of cosignature.
func (w *Witness) AddCheckpoint(ctx context.Context, body []byte) ([]byte, error) {
	from, proof, signed, err := parseRequest(body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	n, next, err := w.open(signed)
	if err != nil {
		return nil, err
	}
	if from > next.Size {
		return nil, refuse(http.StatusBadRequest, "the old size %d is larger than the new one %d", from, next.Size)
	}
	latest, err := w.opts.Store.Latest(ctx, next.Origin)
	if err != nil {
		return nil, fmt.Errorf("reading what was cosigned: %w", err)
	}
	if from != latest.Size {
		return nil, otherSize(latest)
	}
	if err := w.advance(ctx, latest, next, proof, signed); err != nil {
		return nil, err
	}
	return w.cosign(n)
}

// otherSize says which size was cosigned, in the form a log understands.
func otherSize(latest Checkpoint) error {
	return &refusal{http.StatusConflict, sizeType, fmt.Sprintf("%d\n", latest.Size)}
}

// open verifies a checkpoint with a key of its log: "it MUST ignore signatures
// from unknown keys".
func (w *Witness) open(signed []byte) (*note.Note, Checkpoint, error) {
	claimed, err := checkpointOf(signed)
	if err != nil {
		return nil, claimed, refuse(http.StatusBadRequest, "%v", err)
	}
	keys, ok := w.opts.Logs[claimed.Origin]
	if !ok {
		return nil, claimed, refuse(http.StatusNotFound, "the log %.80q is not witnessed here", claimed.Origin)
	}
	n, err := openNote(signed, keys...)
	if errors.Is(err, ErrMalformed) {
		return nil, claimed, refuse(http.StatusBadRequest, "%v", err)
	}
	if err != nil {
		return nil, claimed, refuse(http.StatusForbidden, "%v", err)
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil || c != claimed {
		return nil, c, refuse(http.StatusBadRequest, "the checkpoint can be read in two ways")
	}
	return n, c, nil
}

// advance records next, if it goes on from latest.
func (w *Witness) advance(ctx context.Context, latest, next Checkpoint, proof []Hash, signed []byte) error {
	if latest.Size == next.Size && latest.Root != next.Root && next.Size > 0 {
		return refuse(http.StatusConflict, "the log %.80q was seen with another root at %d entries: it has two histories", next.Origin, next.Size)
	}
	if next.Size == 0 && next.Root != EmptyRoot() {
		return refuse(http.StatusUnprocessableEntity, "the root of no entries is another")
	}
	if err := VerifyConsistency(proof, latest, next); err != nil {
		return refuse(http.StatusUnprocessableEntity, "%v", err)
	}
	if latest == next {
		return nil
	}
	err := w.opts.Store.Swap(ctx, latest, next, signed)
	if errors.Is(err, ErrConflict) { // another request was first
		if latest, err = w.opts.Store.Latest(ctx, next.Origin); err == nil {
			return otherSize(latest)
		}
	}
	if err != nil {
		return fmt.Errorf("recording what is cosigned: %w", err)
	}
	return nil
}

// cosign signs a checkpoint and returns the line of its signature.
func (w *Witness) cosign(n *note.Note) ([]byte, error) {
	signed, err := note.Sign(&note.Note{Text: n.Text}, w.opts.Signer)
	if err != nil {
		return nil, fmt.Errorf("cosigning: %w", err)
	}
	return signed[len(n.Text)+1:], nil
}
