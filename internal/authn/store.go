package authn

import (
	"context"
	"time"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
)

// Account is an enrolled principal: a person or a machine.
type Account struct {
	Name     string // unique; the subject of its principal
	Human    bool
	Grants   []authz.Grant
	Created  time.Time
	Disabled time.Time // zero while it may authenticate
}

// Code is a one-time code by which an account enrols. Only its hash is kept.
type Code struct {
	Hash    [32]byte // SHA-256 of the code
	Account string
	Expires time.Time
	First   bool // for whoever is to enrol before all others; not kept
}

// Token is a long-lived secret that an account got by enrolling; clients
// present it as a password and get short-lived bearer tokens for it. Only its
// hash is kept.
type Token struct {
	ID      string // public part, shown in lists
	Hash    [32]byte
	Account string
	Label   string        // what it is for, as its owner said
	Scope   []authz.Grant // narrower than the account's; nil for all
	Created time.Time
	Expires time.Time
	Used    time.Time // last use, to within an hour
	Revoked time.Time // zero while it is good
}

// Store keeps accounts, codes and tokens. Errors match repo.ErrNotFound. Those
// that change something append the event in the same transaction.
type Store interface {
	Account(ctx context.Context, name string) (Account, error)
	Accounts(ctx context.Context, after string, limit int) ([]Account, error)
	PutAccount(ctx context.Context, a Account, e audit.Event) error
	// PutCode stores a code. A first one ends all others, and is repo.ErrConflict
	// where anybody has enrolled: so no two are good at a time, and none after.
	PutCode(ctx context.Context, c Code, e audit.Event) error
	// RedeemCode deletes the code and stores the token in one transaction. A
	// code that is unknown, used or expired at now is repo.ErrNotFound.
	RedeemCode(ctx context.Context, hash [32]byte, now time.Time, t Token, e audit.Event) (Account, error)
	Token(ctx context.Context, id string) (Token, error)
}

// TokenStore is the rest of it.
type TokenStore interface {
	Tokens(ctx context.Context, account string) ([]Token, error)
	PutToken(ctx context.Context, t Token, e audit.Event) error
	RevokeToken(ctx context.Context, id string, at time.Time, e audit.Event) error
	TouchToken(ctx context.Context, id string, at time.Time) error
	// Keys returns the keys of bearer tokens, oldest first.
	Keys(ctx context.Context) ([]Key, error)
	// PutKey stores a key, made later than all others, and removes those ended.
	// newest is the id of the newest until then, "" where there is none; where
	// it is not, that is repo.ErrConflict.
	PutKey(ctx context.Context, k Key, newest string, ended []string, e audit.Event) error
}
