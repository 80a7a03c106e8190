package analyze

import (
	"strings"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// PURL returns the canonical package URL of a package of an image with that
// distribution (https://github.com/package-url/purl-spec). OS packages have
// the distribution as namespace and qualifier, as far as it is known.
//
// It gives what package-url/packageurl-go gives, which tests compare, in a
// tenth of the time: an overlay makes thousands.
func PURL(p *inventory.Package, d *inventory.Distro) string {
	b := make([]byte, 0, 96)
	b = append(append(b, "pkg:"...), p.Type...)
	namespace, name, version := p.Namespace, p.Name, p.Version
	var arch, distro, epoch string
	switch p.Type {
	case "deb", "apk", "rpm":
		namespace, arch, distro = d.ID, p.Arch, distroQualifier(d)
		if p.Type == "rpm" {
			epoch, version = cutEpoch(version)
		} else {
			name = strings.ToLower(name)
		}
	case "golang":
		namespace, name, version = goModule(strings.ToLower(p.Name), version)
	case "composer":
		namespace, name = strings.ToLower(namespace), strings.ToLower(name)
	case "pypi":
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	}
	for part := range strings.SplitSeq(namespace, "/") {
		if part != "" {
			b = appendEscaped(append(b, '/'), part)
		}
	}
	b = appendEscaped(append(b, '/'), name)
	if version != "" {
		b = appendEscaped(append(b, '@'), version)
	}
	q := byte('?')
	for _, kv := range [...][2]string{{"arch", arch}, {"distro", distro}, {"epoch", epoch}} {
		if kv[1] != "" {
			b = append(append(append(b, q), kv[0]...), '=')
			b = appendEscaped(b, kv[1])
			q = '&'
		}
	}
	return string(b)
}

// distroQualifier returns "debian-12".
func distroQualifier(d *inventory.Distro) string {
	if d.ID == "" || d.VersionID == "" {
		return d.ID
	}
	return d.ID + "-" + d.VersionID
}

// cutEpoch splits "1:2.3-4", which has no epoch of "" or 0.
func cutEpoch(version string) (epoch, rest string) {
	epoch, rest, ok := strings.Cut(version, ":")
	switch {
	case !ok:
		return "", version
	case epoch == "0":
		return "", rest
	}
	return epoch, rest
}

// goModule splits a module path and gives the version its "v", which OSV and
// Package.Version leave out and which is part of it for Go. The standard
// library has none.
func goModule(path, version string) (namespace, name, v string) {
	namespace, name, _ = cutLast(path)
	if version != "" && path != "stdlib" {
		version = "v" + version
	}
	return namespace, name, version
}

const hexDigits = "0123456789ABCDEF"

// appendEscaped percent-encodes all but unreserved characters and the colon.
func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '.', c == '-', c == '_', c == '~', c == ':':
			b = append(b, c)
		default:
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}
