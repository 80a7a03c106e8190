package config

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Size is a number of bytes. It is written as digits with an optional unit:
// B, KiB, MiB, GiB, TiB (powers of 1024) or kB, MB, GB, TB (of 1000).
type Size int64

// sizeUnits lists the units, larger first of those that one number could be
// written in.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// UnmarshalText reads "64GiB" or "1000".
func (s *Size) UnmarshalText(b []byte) error {
	text, unit := string(b), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("%q is no size: write digits with a unit, such as 512MiB or 64GiB", clip(b))
	}
	*s = Size(n * unit)
	return nil
}

// UnmarshalYAML reads the same, and knows where a fault stands.
func (s *Size) UnmarshalYAML(n ast.Node) error { return readAt(n, s.UnmarshalText) }

// String writes the size with the largest unit of 1024 that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits[:4] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText writes String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Duration is a length of time, written as Go does ("90s", "1h30m") or in days
// ("7d").
type Duration time.Duration

// UnmarshalText reads "90s" or "7d".
func (d *Duration) UnmarshalText(b []byte) error {
	if days, ok := strings.CutSuffix(string(b), "d"); ok {
		if n, err := strconv.ParseInt(days, 10, 64); err == nil && n >= 0 && n <= 36500 {
			*d = Duration(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no length of time: write 90s, 15m, 24h or 7d", clip(b))
	}
	*d = Duration(v)
	return nil
}

// UnmarshalYAML reads the same, and knows where a fault stands.
func (d *Duration) UnmarshalYAML(n ast.Node) error { return readAt(n, d.UnmarshalText) }

// String writes whole hours, minutes and seconds without zeros behind: "24h".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText writes String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// misplaced is a fault of one value of a file.
type misplaced struct {
	at  *token.Token
	why error
}

func (m *misplaced) Error() string { return m.why.Error() }

// readAt gives the text of a value to read.
func readAt(n ast.Node, read func([]byte) error) error {
	text := n.String()
	if _, ok := n.(ast.ScalarNode); ok {
		text = n.GetToken().Value
	}
	if err := read([]byte(text)); err != nil {
		return &misplaced{n.GetToken(), err}
	}
	return nil
}

// Path is the path of a file or folder. In a configuration file a relative one
// is relative to that file's folder; in the environment and in flags, to the
// working folder.
type Path string

// maxSecret is the largest file that ReadSecret accepts, in bytes.
const maxSecret = 64 << 10

// ErrSecret matches errors of ReadSecret.
var ErrSecret = errors.New("not a usable secret")

// ReadSecret returns the content of a file that holds one secret, without line
// ends behind it. Errors match ErrSecret.
func (p Path) ReadSecret() (string, error) {
	f, err := os.Open(string(p))
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrSecret, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrSecret, err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	switch {
	case len(b) > maxSecret:
		return "", fmt.Errorf("%w: %s is larger than %d bytes", ErrSecret, p, maxSecret)
	case s == "":
		return "", fmt.Errorf("%w: %s is empty", ErrSecret, p)
	case strings.ContainsAny(s, "\r\n\x00"):
		return "", fmt.Errorf("%w: %s holds more than one line", ErrSecret, p)
	}
	return s, nil
}

// clip shortens foreign text for an error.
func clip(b []byte) string {
	if len(b) > 40 {
		return string(b[:40]) + "…"
	}
	return string(b)
}

// ProxyNetworks is Proxies as networks; what is none is left out, as Check
// refuses it.
func (c *Config) ProxyNetworks() []netip.Prefix {
	var all []netip.Prefix
	for _, text := range c.Proxies {
		if p, ok := network(text); ok {
			all = append(all, p)
		}
	}
	return all
}

// network reads an address or a network.
func network(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), a.Zone() == ""
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err == nil
}
