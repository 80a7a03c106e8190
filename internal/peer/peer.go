// Package peer tells where a request comes from.
//
// Without a proxy that is the connection's other end. Behind proxies all requests
// would seem to come from one place, and share its allowance; so what a proxy
// that the configuration names says of the client is taken for the connection's
// other end, once, before anything looks at it.
package peer

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHops bounds how many proxies are looked behind.
const maxHops = 32

// Addr returns the address that a request comes from, the zero one where it has
// none. IPv4 addresses are not mapped, and addresses have no zone.
func Addr(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// Network returns what one client has: an IPv4 address, or an IPv6 network of 64
// bits. The zero one stands for all who have no address.
func Network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Behind serves requests as if they came from where the proxies say. Only what
// the last proxies in a row have said counts: the nearest address in
// X-Forwarded-For that is none of proxies. Whatever else a client wrote there is
// left aside, and a header that cannot be read leaves the proxy's address.
func Behind(proxies []netip.Prefix, next http.Handler) http.Handler {
	if len(proxies) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from := client(proxies, Addr(r), r.Header.Values("X-Forwarded-For")); from != Addr(r) {
			r = r.Clone(r.Context())
			r.RemoteAddr = net.JoinHostPort(from.String(), "0")
		}
		next.ServeHTTP(w, r)
	})
}

// client goes back from the connection's other end for as long as it finds
// proxies.
func client(proxies []netip.Prefix, at netip.Addr, said []string) netip.Addr {
	isProxy := func(a netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	from := at
	hops := strings.Split(strings.Join(said, ","), ",")
	for n := len(hops) - 1; n >= 0 && len(hops)-n <= maxHops && isProxy(from); n-- {
		a, ok := parse(strings.TrimSpace(hops[n]))
		if !ok {
			return at
		}
		from = a
	}
	return from
}

// parse reads an address, with a port or without.
func parse(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		with, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		a = with.Addr()
	}
	return a.Unmap().WithZone(""), true
}
