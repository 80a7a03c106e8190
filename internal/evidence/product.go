package evidence

import (
	"net/url"
	"slices"
	"strings"
)

// product is a package URL, taken apart.
type product struct {
	name       string // type, namespace and name, in the spelling that its type has
	version    string // without the epoch of an rpm
	qualifiers map[string]string
}

// saysNothing are qualifiers that do not make it another package.
var saysNothing = []string{"package-id", "upstream", "vcs_url"}

// lowered are the types whose names are the same in any case.
var lowered = []string{"apk", "composer", "deb", "golang", "pypi"}

// parseProduct reads a package URL. What names a part of a package only (a subpath),
// or cannot be read, names no package.
func parseProduct(purl string) (p product, ok bool) {
	rest, ok := strings.CutPrefix(purl, "pkg:")
	rest = strings.TrimLeft(rest, "/")
	if !ok || strings.Contains(rest, "#") {
		return p, false
	}
	rest, query, _ := strings.Cut(rest, "?")
	typ, name, ok := strings.Cut(rest, "/")
	if !ok {
		return p, false
	}
	if at := strings.LastIndexByte(name, '@'); at > strings.LastIndexByte(name, '/')+1 {
		name, p.version = name[:at], name[at+1:]
	}
	var errName, errVersion error
	typ = strings.ToLower(typ)
	name, errName = url.PathUnescape(name)
	p.version, errVersion = url.PathUnescape(p.version)
	if errName != nil || errVersion != nil || name == "" {
		return p, false
	}
	if slices.Contains(lowered, typ) {
		name = strings.ToLower(name)
	}
	switch typ {
	case "pypi":
		name = strings.ReplaceAll(name, "_", "-")
	case "golang":
		p.version = strings.TrimPrefix(p.version, "v")
	}
	p.name = typ + "/" + name
	return p, p.qualify(typ, query)
}

// qualify reads the qualifiers; what is there twice cannot be read.
func (p *product) qualify(typ, query string) bool {
	p.qualifiers = map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		value, err := url.PathUnescape(value)
		key = strings.ToLower(key)
		switch {
		case err != nil || p.qualifiers[key] != "":
			return false
		case value == "", slices.Contains(saysNothing, key), typ == "maven" && key == "type" && value == "jar":
		default:
			p.qualifiers[key] = value
		}
	}
	if epoch, version, ok := strings.Cut(p.version, ":"); ok && typ == "rpm" && p.qualifiers["epoch"] == "" {
		p.version, p.qualifiers["epoch"] = version, epoch
	}
	if p.qualifiers["epoch"] == "0" {
		delete(p.qualifiers, "epoch")
	}
	return true
}

// covers reports whether what is said of p is said of have, a package of an
// artifact: it says no more than have has. With a version the epoch is part of that.
func (p *product) covers(have *product) bool {
	if p.name != have.name || p.version != "" && (p.version != have.version || p.qualifiers["epoch"] != have.qualifiers["epoch"]) {
		return false
	}
	for key, value := range p.qualifiers {
		of := have.qualifiers[key]
		switch {
		case key == "arch" && slices.Contains(sourceArch, value):
		case key == "distro" && !sameRelease(value, of), key != "distro" && value != of:
			return false
		}
	}
	return true
}

// sameRelease reports whether two releases of a distribution are the same as far
// as both say: "debian-12" is "debian-12.5".
func sameRelease(a, b string) bool {
	if a == "" || b == "" {
		return a == b
	}
	x, y := strings.Split(strings.ToLower(a), "."), strings.Split(strings.ToLower(b), ".")
	n := min(len(x), len(y))
	return slices.Equal(x[:n], y[:n])
}

// sourceArch are the architectures that name a source package, as purls of
// distributions have them.
var sourceArch = []string{"source", "src"}

// isPackage reports whether a purl names the package of a finding, or says that it
// names the source that it was built from and does. What is fixed is so in a
// version: a package without one is not what is meant.
func isPackage(purl string, f *Finding, status string) bool {
	want, ok := parseProduct(purl)
	have, ok2 := parseProduct(f.PURL)
	if !ok || !ok2 || want.version == "" && status == Fixed {
		return false
	}
	if slices.Contains(sourceArch, want.qualifiers["arch"]) && !have.becomeSource(f) {
		return false
	}
	return want.covers(&have)
}

// becomeSource makes the package of a finding what it was built from: itself, where
// nothing else is said. arch is then that of whoever asks for it.
func (p *product) becomeSource(f *Finding) bool {
	typ, name, _ := strings.Cut(p.name, "/")
	namespace, _, ok := strings.Cut(name, "/")
	if !ok || !slices.Contains([]string{"apk", "deb", "rpm"}, typ) {
		return false
	}
	if f.Source != "" {
		source, _ := parseProduct("pkg:" + typ + "/" + namespace + "/" + url.PathEscape(f.Source))
		p.name = source.name
	}
	if f.SourceVersion != "" {
		p.version = f.SourceVersion
		if epoch, version, ok := strings.Cut(p.version, ":"); ok && typ == "rpm" {
			p.version, p.qualifiers["epoch"] = version, epoch
		}
	}
	return true
}
