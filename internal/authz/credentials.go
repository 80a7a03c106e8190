package authz

import (
	"errors"
	"fmt"
	"time"
)

// ErrUnauthenticated matches errors about who is asking: credentials that are
// absent where they are needed, unknown, expired, revoked or of a disabled
// account. Faces answer 401 and say how to authenticate.
var ErrUnauthenticated = errors.New("not authenticated")

// ErrInvalid matches errors about what is asked of an account: its name, the
// life or the label of a token. Faces answer 400.
var ErrInvalid = errors.New("not valid")

// Throttled is the error of somebody who tried wrong credentials, or codes,
// too often. Faces answer 429.
type Throttled struct {
	After time.Duration // when to try again, at the earliest
}

func (t *Throttled) Error() string {
	return fmt.Sprintf("too many failed attempts; try again in %s", t.After.Round(time.Second))
}
