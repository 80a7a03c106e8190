package analyze

import (
	"strings"
	"unicode/utf8"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// osReleaseName is how gaps name what reads os-release files.
const osReleaseName = "os-release"

// maxOSRelease bounds an os-release file; real ones have less than 1 KiB.
const maxOSRelease = 64 << 10

// releasePlaces are where os-release(5) puts it, in order of preference.
var releasePlaces = []string{"etc/os-release", "usr/lib/os-release"}

// isOSRelease reports whether path is an os-release file or may be what one is
// a link to: Fedora's is in usr/lib/os.release.d.
func isOSRelease(path string) bool {
	switch path {
	case "etc/os-release", "usr/lib/os-release":
		return true
	}
	dir, name, _ := cutLast(path)
	return strings.Contains(name, "os-release") && (strings.HasPrefix(dir, "usr/lib") || strings.HasPrefix(dir, "etc"))
}

func cutLast(path string) (dir, name string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

// ParseOSRelease reads an os-release(5) file. What it does not say stays empty;
// of an assignment that comes twice the last counts, as in a shell.
func ParseOSRelease(content []byte) inventory.Distro {
	v := map[string]string{}
	for line := range strings.Lines(string(content)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			v[key] = shellWord(value)
		}
	}
	d := inventory.Distro{ID: strings.ToLower(v["ID"]), VersionID: v["VERSION_ID"], Name: v["PRETTY_NAME"]}
	if d.Name == "" {
		d.Name = strings.TrimSpace(v["NAME"] + " " + v["VERSION"])
	}
	d.Ecosystem = ecosystemOf(d, v["CPE_NAME"])
	return d
}

// shellWord undoes shell quoting of one word: 'x', "x" with backslashes, and
// pieces of both next to each other. What is no text becomes "".
func shellWord(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\'':
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				end = len(s) - i - 1
			}
			b.WriteString(s[i+1 : i+1+end])
			i += end + 1
		case '"':
			i = doubleQuoted(&b, s, i+1)
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	if out := b.String(); utf8.ValidString(out) && isText(out) {
		return out
	}
	return ""
}

// doubleQuoted writes what is between double quotes, from i on, and returns
// the index of the closing one.
func doubleQuoted(b *strings.Builder, s string, i int) int {
	for ; i < len(s) && s[i] != '"'; i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\"$`\\", s[i+1]) >= 0 {
			i++
		}
		b.WriteByte(s[i])
	}
	return i
}
