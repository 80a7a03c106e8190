package peer_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/peer"
)

// TestBehind: a client cannot choose where it comes from, with a proxy or without.
func TestBehind(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, tc := range []struct {
		name, from string
		said       []string
		want       string
	}{
		{"no proxy", "192.0.2.1:5", nil, "192.0.2.1"},
		{"no proxy, and a client that says there is one", "192.0.2.1:5", []string{"198.51.100.1"}, "192.0.2.1"},
		{"a proxy", "10.0.0.1:5", []string{"198.51.100.1"}, "198.51.100.1"},
		{"a proxy, and a client that writes more", "10.0.0.1:5", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{"a client that calls itself a proxy", "10.0.0.1:5", []string{"203.0.113.9, 10.9.9.9, 198.51.100.1"}, "198.51.100.1"},
		{"two proxies, in two headers", "10.0.0.1:5", []string{"198.51.100.1", "10.0.0.2"}, "198.51.100.1"},
		{"proxies all the way", "10.0.0.1:5", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"a proxy that says nothing", "10.0.0.1:5", nil, "10.0.0.1"},
		{"what cannot be read", "10.0.0.1:5", []string{"unknown"}, "10.0.0.1"},
		{"what cannot be read, further back", "10.0.0.1:5", []string{"x, 198.51.100.1"}, "198.51.100.1"},
		{"with a port", "10.0.0.1:5", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"IPv6", "[fd00::1]:5", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets", "[fd00::1]:5", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"mapped", "[::ffff:10.0.0.1]:5", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"more hops than are looked behind", "10.0.0.1:5", []string{"198.51.100.1" + strings.Repeat(", 10.0.0.1", 40)}, "10.0.0.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got netip.Addr
			h := peer.Behind(proxies, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = peer.Addr(r) }))
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
			r.RemoteAddr = tc.from
			for _, s := range tc.said {
				r.Header.Add("X-Forwarded-For", s)
			}
			h.ServeHTTP(httptest.NewRecorder(), r)
			if got.String() != tc.want {
				t.Errorf("it comes from %s, want %s", got, tc.want)
			}
		})
	}
}

func TestNetwork(t *testing.T) {
	for addr, want := range map[string]string{"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64"} {
		if got := peer.Network(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s has %s, want %s", addr, got, want)
		}
	}
	if got := peer.Network(netip.Addr{}); got.IsValid() {
		t.Errorf("nobody has %s", got)
	}
}

// FuzzBehind: whatever is said, an address comes out.
func FuzzBehind(f *testing.F) {
	f.Add("198.51.100.1, 10.0.0.2")
	f.Add("[::1]:80,,")
	f.Fuzz(func(t *testing.T, said string) {
		h := peer.Behind([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if !peer.Addr(r).IsValid() {
				t.Errorf("%q: nobody", said)
			}
		}))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		r.RemoteAddr = "10.0.0.1:5"
		r.Header["X-Forwarded-For"] = []string{said}
		h.ServeHTTP(httptest.NewRecorder(), r)
	})
}
