package pki

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// names are the hosts of a certificate.
type names struct {
	dns []string
	ips []net.IP // 4 or 16 bytes
}

// hostPattern is a DNS name that certificates can hold, in lower case. RFC
// 5280, 4.2.1.6: the preferred name syntax, so no underscores.
var hostPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
})

// maxHost is the longest DNS name, in bytes.
const maxHost = 253

// namesOf reads hosts, each once. Errors match ErrOutside.
func namesOf(hosts []string) (names, error) {
	var n names
	for _, h := range hosts {
		one, ok := nameOf(h)
		if !ok {
			return names{}, fmt.Errorf("making a certificate for %.100q: %w: it is neither a DNS name nor an address", h, ErrOutside)
		}
		n = n.join(one)
	}
	return n, nil
}

// guessed reads those hosts that certificates can hold.
func guessed(hosts []string) names {
	var n names
	for _, h := range hosts {
		if one, ok := nameOf(h); ok {
			n = n.join(one)
		}
	}
	return n
}

func nameOf(host string) (names, bool) {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		if a.IsUnspecified() || a.Zone() != "" {
			return names{}, false
		}
		return names{ips: []net.IP{a.Unmap().AsSlice()}}, true
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if len(host) > maxHost || !hostPattern().MatchString(host) {
		return names{}, false
	}
	return names{dns: []string{host}}, true
}

// loopback are the hosts by which every machine reaches itself.
func loopback() names {
	return names{dns: []string{"localhost"}, ips: []net.IP{{127, 0, 0, 1}, net.IPv6loopback}}
}

// join returns the union, n's order first.
func (n names) join(m names) names {
	out := names{dns: slices.Clone(n.dns), ips: slices.Clone(n.ips)}
	for _, d := range m.dns {
		if !slices.Contains(out.dns, d) {
			out.dns = append(out.dns, d)
		}
	}
	for _, ip := range m.ips {
		if !slices.ContainsFunc(out.ips, ip.Equal) {
			out.ips = append(out.ips, ip)
		}
	}
	return out
}

func (n names) strings() []string {
	all := slices.Clone(n.dns)
	for _, ip := range n.ips {
		all = append(all, ip.String())
	}
	return all
}

// below reports whether host is the domain or below it.
func below(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}

func ranges(nets []*net.IPNet) []string {
	all := make([]string, len(nets))
	for i, n := range nets {
		all[i] = n.String()
	}
	return all
}
