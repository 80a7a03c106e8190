package evidence

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Signer says whose signatures count. A signature's presence never does.
// Fields that are given must all match.
type Signer struct {
	Anchor  string             `json:"anchor" yaml:"anchor"`                      // name of the anchor it verified for, exactly
	Issuer  Pattern            `json:"issuer,omitzero" yaml:"issuer,omitempty"`   // of the identity; needed where the identity has one
	Subject Pattern            `json:"subject,omitzero" yaml:"subject,omitempty"` // needed unless Key is given
	Key     string             `json:"key,omitempty" yaml:"key,omitempty"`        // SHA-256 of the public key, hex
	Claims  map[string]Pattern `json:"claims,omitempty" yaml:"claims,omitempty"`  // by the names of Identity.Claims
}

// Validate refuses what would let in more than its author can have meant.
func (s Signer) Validate() error {
	switch {
	case s.Anchor == "":
		return fmt.Errorf("a signer needs an anchor: an identity means nothing without who vouches for it")
	case s.Issuer.anyHost():
		return fmt.Errorf("issuer %q: the host of an issuer must be written out, whoever owns another one could issue any name", s.Issuer)
	case s.Subject.IsZero() && !s.Issuer.IsZero():
		return fmt.Errorf("issuer %q without a subject lets in everyone it knows; write subject: '**' if that is meant", s.Issuer)
	}
	return nil
}

// Mismatch returns why sig is not by s, as a sentence about the first field that
// differs; "" means that it is.
func (s Signer) Mismatch(sig *Signature) string {
	id := sig.Identity
	switch {
	case s.Anchor != sig.Anchor:
		return fmt.Sprintf("it verified for anchor %s, wanted is %s", oci.Quote(sig.Anchor), oci.Quote(s.Anchor))
	case s.Key != "" && !strings.EqualFold(s.Key, id.Key):
		return fmt.Sprintf("it is by %s, wanted is key %s", oci.Quote(id.String()), oci.Quote(s.Key))
	case id.Issuer != "" && s.Issuer.IsZero():
		return fmt.Sprintf("%s was vouched for by %s, and the rule names no issuer", oci.Quote(id.Subject), oci.Quote(id.Issuer))
	case !s.Issuer.IsZero() && !s.Issuer.Match(id.Issuer):
		return fmt.Sprintf("its issuer is %s, wanted is %s", oci.Quote(id.Issuer), oci.Quote(s.Issuer.String()))
	case id.Subject != "" && s.Subject.IsZero():
		return fmt.Sprintf("it is by %s, and the rule names no subject", oci.Quote(id.Subject))
	case !s.Subject.IsZero() && !s.Subject.Match(id.Subject):
		return fmt.Sprintf("it is by %s, wanted is %s", oci.Quote(id.Subject), oci.Quote(s.Subject.String()))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Claims)) {
		if got := id.Claims[name]; !s.Claims[name].Match(got) {
			return fmt.Sprintf("its %s is %s, wanted is %s", name, oci.Quote(got), oci.Quote(s.Claims[name].String()))
		}
	}
	return ""
}

// Pattern matches the whole of an identity's name, never a part of it. Without
// an asterisk it is the name itself, compared byte by byte. "*" stands for one or
// more characters of one path segment; in a host or mail domain for one whole
// label. "**" stands for one or more characters of any number of segments and
// may not stand in a host. Names with ".." segments match no asterisk.
type Pattern struct {
	text string
	host int // where a host ends, in bytes of text; asterisks before it are labels
}

// ParsePattern reads a pattern.
func ParsePattern(text string) (Pattern, error) {
	p := Pattern{text: text}
	if !utf8.ValidString(text) {
		return Pattern{}, fmt.Errorf("pattern %s is not UTF-8", oci.Quote(text))
	}
	if text == "" || text == "**" {
		return p, nil
	}
	start, end := hostOf(text)
	p.host = end
	host := text[start:end]
	if strings.Contains(host, "**") {
		return Pattern{}, fmt.Errorf("pattern %s: ** would take any host; write it out", oci.Quote(text))
	}
	for label := range strings.SplitSeq(host, ".") {
		if strings.Contains(label, "*") && label != "*" {
			return Pattern{}, fmt.Errorf("pattern %s: in a host, * stands for a whole label as in *.example.com; %s would match look-alikes", oci.Quote(text), oci.Quote(label))
		}
	}
	if labels := strings.Split(host, "."); strings.Contains(host, "*") && (len(labels) < 3 || slices.Contains(labels[len(labels)-2:], "*")) {
		return Pattern{}, fmt.Errorf("pattern %s: the last two labels of a host must be written out", oci.Quote(text))
	}
	if start == 0 && end == 0 && strings.HasPrefix(text, "*") && text != "*" {
		return Pattern{}, fmt.Errorf("pattern %s starts with an asterisk and would match look-alikes; begin with the scheme, or write *@domain", oci.Quote(text))
	}
	return p, nil
}

// MustPattern is ParsePattern for constants and tests; it panics on error.
func MustPattern(text string) Pattern {
	p, err := ParsePattern(text)
	if err != nil {
		panic(err)
	}
	return p
}

// hostOf returns where the host of a URL, or the domain of a mail address,
// stands in text; 0, 0 where there is none.
func hostOf(text string) (start, end int) {
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		start = len(scheme) + len("://")
		if n := strings.IndexByte(rest, '/'); n >= 0 {
			return start, start + n
		}
		return start, len(text)
	}
	if at := strings.LastIndexByte(text, '@'); at >= 0 && !strings.Contains(text, "/") {
		return at + 1, len(text)
	}
	return 0, 0
}

// IsZero reports whether p is the zero Pattern, which matches nothing.
func (p Pattern) IsZero() bool { return p.text == "" }

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// MarshalText writes String.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }

// UnmarshalText is ParsePattern.
func (p *Pattern) UnmarshalText(text []byte) error {
	parsed, err := ParsePattern(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// anyHost reports whether p leaves open who the host is.
func (p Pattern) anyHost() bool {
	return p.text == "*" || strings.HasPrefix(p.text, "**") || strings.Contains(p.text[:p.host], "*")
}

// Match reports whether the whole of name matches.
func (p Pattern) Match(name string) bool {
	switch {
	case p.text == "" || name == "":
		return false
	case !strings.Contains(p.text, "*"):
		return p.text == name
	case strings.Contains(name+"/", "/../") || strings.Contains(name+"/", "/./"):
		return false
	}
	return len(name) <= maxName && utf8.ValidString(name) && p.glob([]rune(name))
}

// MatchFold is Match without regard to case, for what ends trust: an issuer that
// leaves the case of a name to who bears it must not be a way around it.
func (p Pattern) MatchFold(name string) bool {
	return p.Match(name) || Pattern{strings.ToLower(p.text), p.host}.Match(strings.ToLower(name))
}

// maxName bounds, in bytes, the names that asterisks are held against.
const maxName = 4096

// glob holds name against the pattern token by token. reached[i] says that the
// tokens so far can stand for the first i characters.
func (p Pattern) glob(name []rune) bool {
	reached := make([]bool, len(name)+1)
	reached[0] = true
	for at := 0; at < len(p.text); {
		next := make([]bool, len(name)+1)
		r, size := utf8.DecodeRuneInString(p.text[at:])
		width := 0
		for r == '*' && width < 2 && strings.HasPrefix(p.text[at+width:], "*") {
			width++
		}
		for i, c := range name {
			switch {
			case width == 0:
				next[i+1] = reached[i] && c == r
			default:
				next[i+1] = (reached[i] || next[i]) && covers(c, width, at < p.host)
			}
		}
		reached = next
		at += max(size, width)
	}
	return reached[len(name)]
}

// covers reports whether an asterisk may stand for r. What URLs, paths and X.509
// names are delimited with is nothing that a name may bring in by itself.
func covers(r rune, width int, host bool) bool {
	switch {
	case !unicode.IsPrint(r), r == unicode.ReplacementChar, host && (r == '.' || r == ':'):
		return false
	}
	return width == 2 || !strings.ContainsRune(`/@%?#\,=`, r)
}
