package authn

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Fresh is how old what is known of a token and its account may be when a
// request is let in with it.
const Fresh = 5 * time.Second

// Options are what Accounts work with. All fields but those marked are required.
type Options struct {
	Store  Store
	Tokens TokenStore
	Clock  func() time.Time
	Rand   io.Reader
	Log    *slog.Logger
	// Open is what anyone may do without rights; tokens for nobody are made for
	// that alone. Optional.
	Open authz.Open
	// Service names this registry in challenges and tokens. Optional: "bonded".
	Service string
	// URL is how clients reach the server, "https://HOST[:PORT]" without a
	// path. Optional: without it each request's own host is taken.
	URL string
	// BearerTTL is the life of a bearer token. Optional: 10 minutes.
	BearerTTL time.Duration
	// Reserved are names that no account may have, because the server's own
	// parts act under them. Optional; "anonymous" always is one.
	Reserved []string
}

// Accounts keeps who may authenticate, and finds out who does. It is safe for
// concurrent use.
type Accounts struct {
	o        Options
	signer   signer
	keys     keyring
	attempts *attempts

	// changes counts what this process changed: what was looked up before the
	// last change is looked up again.
	changes atomic.Uint64
	cacheMu sync.Mutex
	cache   *lru[[32]byte, *seen]

	// editMu makes reading and writing back an account one step in this process.
	editMu sync.Mutex
}

// maxCached bounds how many credentials are remembered; each takes under 1 KiB.
const maxCached = 10_000

// New returns Accounts, making the key that bearer tokens are signed with on
// first use of the database.
func New(ctx context.Context, o Options) (*Accounts, error) {
	if o.Service == "" {
		o.Service = "bonded"
	}
	if o.BearerTTL == 0 {
		o.BearerTTL = 10 * time.Minute
	}
	a := &Accounts{
		o: o, signer: signer{service: o.Service, ttl: o.BearerTTL}, keys: keyring{store: o.Tokens, ttl: o.BearerTTL},
		attempts: newAttempts(), cache: newLRU[[32]byte, *seen](maxCached),
	}
	if err := a.KeepKeys(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// namePattern is what accounts may be called: something that fits into a path
// segment, a log line and a user name of any registry client.
var namePattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9][a-z0-9._@+-]{0,63}$`)
})

// checkName reports names that no account may have. Errors match
// authz.ErrInvalid.
func (a *Accounts) checkName(name string) error {
	if !namePattern().MatchString(name) {
		return fmt.Errorf("%w: account name %s: lower-case letters, digits and . _ @ + - only, at most 64", authz.ErrInvalid, oci.Quote(name))
	}
	if name == authz.Anonymous.Subject || slices.Contains(a.o.Reserved, name) {
		return fmt.Errorf("%w: account name %s: the server itself acts under it", authz.ErrInvalid, name)
	}
	return nil
}

// event makes an audit event about an account.
func (a *Accounts) event(p authz.Principal, kind, account string) (audit.Event, error) {
	id, err := a.random()
	if err != nil {
		return audit.Event{}, err
	}
	return audit.New(id, a.o.Clock(), p, kind).With("account", account), nil
}

func (a *Accounts) random() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(a.o.Rand, b[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %v", err)
	}
	return hex.EncodeToString(b[:]), nil
}
