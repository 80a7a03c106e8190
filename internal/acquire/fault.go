package acquire

import (
	"errors"
	"fmt"
)

// fault is an error of one of the kinds that callers may test for, in words
// that need not repeat the kind.
type fault struct {
	what error // the words, and what they wrap
	kind error
	next string
}

func (f *fault) Error() string { return f.what.Error() }

func (f *fault) Unwrap() []error { return []error{f.what, f.kind} }

// NextStep says what to do about an error of this package, "" when there is
// nothing to name.
func NextStep(err error) string {
	var f *fault
	if errors.As(err, &f) {
		return f.next
	}
	return ""
}

// invalid is an error that matches ErrInvalid; next may be "".
func invalid(next, format string, operands ...any) error {
	return &fault{fmt.Errorf(format, operands...), ErrInvalid, next}
}

// absent is an error that matches ErrNotFound; next may be "".
func absent(next, format string, operands ...any) error {
	return &fault{fmt.Errorf(format, operands...), ErrNotFound, next}
}
