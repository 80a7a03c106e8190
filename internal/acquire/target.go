package acquire

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bonded-dev/bonded/internal/oci"
)

// target is what was asked for, parsed: a path with a name within it, or a
// reference to a registry.
type target struct {
	shown string // as it was given
	path  string // of a folder or file; "" for a registry
	name  string // of the image in it; "" when not told
	ref   reference
}

// reference is a manifest in a registry.
type reference struct {
	host string
	oci.Reference
}

func (r reference) String() string { return r.host + "/" + r.Reference.String() }

// parseTarget prefers what is there as a file or folder.
func parseTarget(s string) (target, error) {
	if s == "" {
		return target{}, invalid("name a folder, a tar, or an image as docker.io/library/debian:12", "nothing is named")
	}
	if exists(s) {
		return target{shown: s, path: s}, nil
	}
	for i := len(s) - 1; i > 0; i-- {
		if s[i] == ':' && exists(s[:i]) {
			return target{shown: s, path: s[:i], name: s[i+1:]}, nil
		}
	}
	ref, err := parseReference(s)
	switch {
	case err == nil && !looksLikePath(s):
		return target{shown: s, ref: ref}, nil
	case looksLikePath(s):
		return target{}, absent("", "there is no such file or folder")
	case !errors.Is(err, errNoHost):
		return target{}, absent("", "there is no such file or folder, and as an image: %w", err)
	}
	return target{}, absent("name an image with its registry, as docker.io/library/debian:12", "there is no such file or folder, and it names no registry")
}

// InRegistry returns the reference by which a target names something in a
// registry, without its host; false for what lies in files.
func InRegistry(target string) (oci.Reference, bool) {
	t, err := parseTarget(target)
	return t.ref.Reference, err == nil && t.path == ""
}

// exists reports whether there is something at a path, also when it may not be
// looked at: opening it then says why.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil || !errors.Is(err, fs.ErrNotExist) && !strings.ContainsRune(path, 0) && errors.Is(err, fs.ErrPermission)
}

var archiveNames = regexp.MustCompile(`\.(tar|tgz|tzst|tar\.[a-z0-9]+|gz|zst)$`)

// looksLikePath: nobody writes an image like that.
func looksLikePath(s string) bool {
	return strings.HasPrefix(s, ".") || strings.HasPrefix(s, "~") || filepath.IsAbs(s) || archiveNames.MatchString(s)
}

// errNoHost: what may be a reference does not begin with a registry. Docker
// would ask its own hub then, and tell it names that it has no business with.
var errNoHost = errors.New("names no registry")

// hostPattern is the grammar of a registry's name, with a port; a name in
// brackets is an address of IPv6.
var hostPattern = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$`)

// parseReference reads HOST[:PORT]/REPOSITORY[:TAG][@DIGEST].
func parseReference(s string) (reference, error) {
	host, rest, ok := strings.Cut(s, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" || !hostPattern.MatchString(host) {
		return reference{}, errNoHost
	}
	// What docker takes for short names of its hub, people write with the host too.
	if (host == "docker.io" || host == "index.docker.io") && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	ref, err := oci.ParseReference(rest)
	if err != nil {
		return reference{}, err
	}
	if !ref.Digest.IsZero() {
		ref.Tag = ""
	}
	return reference{host: host, Reference: ref}, nil
}

// pathOf returns the name under which something stands in a zone, from what it
// is called elsewhere: "localhost:5000/x:1" gives "localhost_5000/x". What
// cannot be part of a repository's name is left out.
func pathOf(called string) string {
	called, _, _ = strings.Cut(called, "@")
	if i := strings.LastIndexByte(called, ':'); i > strings.LastIndexByte(called, '/') {
		called = called[:i]
	}
	var parts []string
	for part := range strings.SplitSeq(called, "/") {
		if part = component(part); part != "" {
			parts = append(parts, part)
		}
	}
	path := strings.Join(parts, "/")
	if path == "" || len(path) > maxPath {
		return "scan"
	}
	return path
}

// maxPath leaves room for a zone before it, within oci.MaxName.
const maxPath = 180

// component makes a path segment of a repository's name out of any text: one
// separator between runs of lower-case letters and digits.
func component(s string) string {
	var b strings.Builder
	sep := ""
	for _, c := range []byte(strings.ToLower(s)) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteString(sep)
			sep = ""
			b.WriteByte(c)
		case b.Len() == 0: // nothing to separate
		case c == '.' || c == '-':
			sep = string(c)
		default:
			sep = "_"
		}
	}
	return b.String()
}
