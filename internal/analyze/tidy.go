package analyze

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// Limits of what is kept of one layer. Real ones stay below a tenth of each.
const (
	maxFiles         = 50_000  // files with packages
	maxLayerPackages = 200_000 // packages of all of them
	maxClaims        = 500_000 // files of OS packages; what is beyond is nobody's
)

// Limits of what one file may yield.
const (
	maxPackages = 100_000
	maxText     = 4096 // bytes of a name, version or licence
	maxLicenses = 64
)

// tidy sorts packages, drops repetitions and refuses what no package has. With
// an error it returns what was good.
func tidy(found []inventory.Package) ([]inventory.Package, error) {
	var err error
	if len(found) > maxPackages {
		found, err = found[:maxPackages], Reason("more than 100000 packages in one file")
	}
	found = slices.DeleteFunc(found, func(p inventory.Package) bool {
		if sane(&p) {
			return false
		}
		err = Reason("a package without a name, or with one that is not text")
		return true
	})
	slices.SortFunc(found, func(a, b inventory.Package) int { return comparePackages(&a, &b) })
	return slices.CompactFunc(found, func(a, b inventory.Package) bool { return comparePackages(&a, &b) == 0 }), err
}

func sane(p *inventory.Package) bool {
	if p.Type == "" || p.Name == "" || len(p.Licenses) > maxLicenses {
		return false
	}
	for _, s := range [...]string{p.Type, p.Namespace, p.Name, p.Version, p.Arch, p.Source, p.SourceVer, p.Ecosystem} {
		if !isText(s) {
			return false
		}
	}
	return !slices.ContainsFunc(p.Licenses, func(s string) bool { return !isText(s) })
}

// isText reports whether s is short, valid UTF-8 without control characters.
func isText(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

func comparePackages(a, b *inventory.Package) int {
	return cmp.Or(
		strings.Compare(a.Type, b.Type), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name),
		strings.Compare(a.Version, b.Version), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Source, b.Source),
		strings.Compare(a.SourceVer, b.SourceVer), strings.Compare(a.Ecosystem, b.Ecosystem), slices.Compare(a.Licenses, b.Licenses),
	)
}
