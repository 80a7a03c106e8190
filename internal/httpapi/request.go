package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 1 << 20

// bodyTime is how long a client may take to send a body: it may be anybody's,
// as that of enrolling.
const bodyTime = time.Minute

// decode reads the body into v: one JSON value of at most maxBody bytes, with
// no key that v does not have.
func (c *call) decode(v any) error { return c.decodeUpTo(v, maxBody) }

func (c *call) decodeUpTo(v any, most int64) error {
	if t, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return errMedia
	}
	// A connection that knows no deadlines is bounded by the server alone. The
	// deadline goes with the body: net/http takes a later one for a client that
	// went away.
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(c.o.Clock().Add(bodyTime))
	raw, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, most))
	_ = control.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return fmt.Errorf("%w: at most %d bytes", errLarge, most)
	case err != nil:
		return fmt.Errorf("%w: it ended before it was complete: %v", errBody, err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w: %s", errBody, strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: data after the JSON value", errBody)
	}
	return nil
}

// maxReference bounds a reference or an id, in bytes.
const maxReference = 1024

// reference reads what names an artifact: a digest alone gives a Reference
// without repository.
func reference(s string) (oci.Reference, error) {
	if len(s) > maxReference {
		return oci.Reference{}, fmt.Errorf("%w: a reference of %d bytes", oci.ErrNameInvalid, len(s))
	}
	if strings.HasPrefix(s, "sha256:") || strings.HasPrefix(s, "sha512:") {
		d, err := oci.ParseDigest(s)
		return oci.Reference{Digest: d}, err
	}
	ref, err := oci.ParseReference(s)
	if err == nil && ref.Repository.Path() == "" {
		err = fmt.Errorf("%w: %s is in no zone: want ZONE/PATH, such as dev/app:1.0", oci.ErrNameInvalid, oci.Quote(s))
	}
	return ref, err
}

// Sizes of pages.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// limit is how many entries the caller wants.
func (c *call) limit() (int, error) {
	n, err := c.number("limit", defaultLimit)
	if err != nil || n < 1 || n > maxLimit {
		return 0, fmt.Errorf("%w: limit is %s, want 1 to %d", errQuery, oci.Quote(c.query.Get("limit")), maxLimit)
	}
	return int(n), nil
}

// number reads a parameter of digits; absent it is def.
func (c *call) number(name string, def int64) (int64, error) {
	s := c.query.Get(name)
	if s == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(s, 10, 62)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is %s, want a number", errQuery, name, oci.Quote(s))
	}
	return int64(n), nil
}
