package authn

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/peer"
)

// How many failures are free, and how often one more is.
var (
	perAddress = allowance{burst: 30, every: 2 * time.Second}
	perAccount = allowance{burst: 60, every: time.Second}
	allCodes   = allowance{burst: 60, every: time.Second}
)

type allowance struct {
	burst int
	every time.Duration
}

func (a allowance) limiter() *rate.Limiter { return rate.NewLimiter(rate.Every(a.every), a.burst) }

// maxWatched bounds how many addresses and accounts are watched each.
const maxWatched = 10_000

// attempts counts failures to authenticate. An address that fails too often is
// not looked at for a while. An account that is failed at from many addresses
// is closed to those of them that failed before: its owner, who does not fail,
// is never locked out by others.
type attempts struct {
	mu       sync.Mutex
	address  *lru[netip.Prefix, *rate.Limiter]
	account  *lru[string, *rate.Limiter]
	enrolled *rate.Limiter // of all codes
}

func newAttempts() *attempts {
	return &attempts{
		address: newLRU[netip.Prefix, *rate.Limiter](maxWatched), account: newLRU[string, *rate.Limiter](maxWatched), enrolled: allCodes.limiter(),
	}
}

// check returns an *authz.Throttled when the credentials of account, "" for
// none, must not be looked at for this address now.
func (a *attempts) check(addr netip.Addr, account string, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	from, known := a.address.get(peer.Network(addr))
	if !known {
		return nil
	}
	if err := spent(from, perAddress, now); err != nil {
		return err
	}
	if at, ok := a.account.get(account); ok && account != "" && from.TokensAt(now) < float64(perAddress.burst) {
		return spent(at, perAccount, now)
	}
	return nil
}

// checkCode is check for codes, which have no account.
func (a *attempts) checkCode(addr netip.Addr, now time.Time) error {
	if err := a.check(addr, "", now); err != nil {
		return err
	}
	return spent(a.enrolled, allCodes, now)
}

func spent(l *rate.Limiter, a allowance, now time.Time) error {
	if left := l.TokensAt(now); left < 1 {
		return &authz.Throttled{After: time.Duration((1 - left) * float64(a.every))}
	}
	return nil
}

// failed notes a failure.
func (a *attempts) failed(addr netip.Addr, account string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	take(a.address, peer.Network(addr), perAddress, now)
	if account != "" {
		take(a.account, account, perAccount, now)
	}
}

func (a *attempts) failedCode(addr netip.Addr, now time.Time) {
	a.failed(addr, "", now)
	a.enrolled.AllowN(now, 1)
}

func take[K comparable](m *lru[K, *rate.Limiter], key K, a allowance, now time.Time) {
	l, ok := m.get(key)
	if !ok {
		l = a.limiter()
		m.put(key, l)
	}
	l.AllowN(now, 1)
}
