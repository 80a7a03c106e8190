package vuln

import (
	"errors"
	"fmt"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// distros gives the ecosystem of purl's namespaces of distributions.
var distros = map[string]string{
	"debian": "Debian", "ubuntu": "Ubuntu", "alpine": "Alpine", "wolfi": "Wolfi", "chainguard": "Chainguard", "minimos": "MinimOS",
	"almalinux": "AlmaLinux", "rocky": "Rocky Linux", "rocky-linux": "Rocky Linux", "redhat": "Red Hat", "rhel": "Red Hat",
	"suse": "SUSE", "opensuse": "openSUSE", "openeuler": "openEuler", "mageia": "Mageia",
}

// ErrPURLInvalid matches errors of FromPURL.
var ErrPURLInvalid = errors.New("not a valid package URL")

// FromPURL reads a package URL as a package, as far as it tells: Ecosystem has
// a release only where a distro qualifier such as debian-12 names it, Source
// only where an upstream qualifier does, and Version may be "".
func FromPURL(s string) (inventory.Package, error) {
	u, err := packageurl.FromString(s)
	if err != nil {
		return inventory.Package{}, fmt.Errorf("%w: %s: %v", ErrPURLInvalid, oci.Quote(s), err)
	}
	q := u.Qualifiers.Map()
	p := inventory.Package{Type: u.Type, Namespace: u.Namespace, Name: u.Name, Version: u.Version, Arch: q["arch"]}
	if eco, ok := byPURL[u.Type]; ok {
		p.Ecosystem = eco
		return p, nil
	}
	p.Source, p.SourceVer, _ = strings.Cut(q["upstream"], "@")
	p.Namespace = ""
	p.Ecosystem = distros[strings.ToLower(u.Namespace)]
	if _, release, ok := strings.Cut(q["distro"], "-"); ok && p.Ecosystem != "" {
		_, p.Ecosystem = canonicalEcosystem(p.Ecosystem + ":" + release)
	}
	return p, nil
}
