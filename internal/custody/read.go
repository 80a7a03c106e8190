package custody

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// ErrFile marks bytes that are no custody file, or one that could be read in
// more than one way.
var ErrFile = errors.New("not a custody file")

// ErrLarge marks a file over a limit, which says nothing about whether it is good.
var ErrLarge = errors.New("over a limit")

// Limits of a file. A file that is made keeps them and says what it leaves out.
const (
	MaxFile     = 192 << 20 // bytes
	maxValues   = 2_000_000 // of JSON
	maxContent  = 8 << 20   // bytes of one content that is in the file
	maxContents = 64 << 20  // of all
	maxEvidence = 1_000     // referrers
	maxListed   = 10_000    // decisions, events, batches, revocations, lines of a state
	maxChildren = 1_000     // of an index
)

// Parse reads a file as far as its form goes; nothing in it is verified. Errors
// match ErrFile or ErrLarge.
func Parse(raw []byte) (*api.Custody, error) {
	doc, err := strictjson.Parse(raw, strictjson.Limits{Bytes: MaxFile, Depth: 16, Values: maxValues})
	if errors.Is(err, strictjson.ErrLimit) {
		return nil, fmt.Errorf("reading a custody file: %w: %v", ErrLarge, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrFile, err)
	}
	if v := doc.Get("version").String(); v != api.CustodyVersion {
		return nil, fmt.Errorf("%w: its version is %s, want %s", ErrFile, oci.Quote(v), api.CustodyVersion)
	}
	if err := known(doc, reflect.TypeFor[api.Custody](), "it"); err != nil {
		return nil, err
	}
	f := new(api.Custody)
	if err := json.Unmarshal(doc.Raw(), f); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrFile, err)
	}
	if _, err := oci.ParseDigest(f.Digest); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrFile, err)
	}
	return f, bounded(f)
}

// known refuses keys that the type does not have exactly: another version of
// this program, or encoding/json, would take them for something.
func known(v strictjson.Value, t reflect.Type, where string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[[]byte]():
		return nil
	case t.Kind() == reflect.Slice:
		for e := range v.Elements() {
			if err := known(e, t.Elem(), where); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Struct:
		for key, field := range v.Fields() {
			ft, ok := fieldOf(t, key)
			if !ok {
				return fmt.Errorf("%w: %s has a key %s, which version 1 does not have", ErrFile, where, oci.Quote(key))
			}
			if err := known(field, ft, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// fieldOf returns the type of the field that JSON calls key.
func fieldOf(t reflect.Type, key string) (reflect.Type, bool) {
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name == key {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}

// bounded refuses more than is looked at.
func bounded(f *api.Custody) error {
	for _, l := range []struct {
		what   string
		n, max int
	}{
		{"children", len(f.Subject.Children), maxChildren}, {"indexes", len(f.Subject.Indexes), maxChildren},
		{"referrers", len(f.Evidence), maxEvidence}, {"decisions", len(f.Decisions), maxListed}, {"events", len(f.Events), maxListed},
		{"revocations", len(f.Revocations), maxListed}, {"epochs", len(f.Epochs), maxListed}, {"batches", len(f.Batches), maxListed},
	} {
		if l.n > l.max {
			return fmt.Errorf("reading a custody file: %w: it has %d %s, at most %d are read", ErrLarge, l.n, l.what, l.max)
		}
	}
	return nil
}
