package vuln

import (
	"regexp"
	"strings"
	"sync"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// ecosystem is what must be known about one OSV ecosystem to match packages
// of it.
type ecosystem struct {
	purl     string              // purl type of its packages
	order    string              // what package semantic orders its versions by; "" when there is no order
	distro   bool                // an operating system: packages have sources, vendors rate faults themselves
	releases bool                // advisories name a release, so that a package without one cannot be matched
	native   string              // prefix of the ids of its own database
	release  func(string) string // the canonical form of what follows the colon; nil when it is as written
	fold     func(string) string // the canonical form of a package name; nil when it is as written
	sep      string              // between namespace and name of a package; "" means "/"
	version  func(string) string // the form of a version that advisories use; nil when it is as written
	plain    func(v string) bool // whether v is a version at all; nil when any non-empty text is
}

// ecosystems is keyed by OSV's names, without release. Ecosystems that are not
// here match by listed versions and by semantic versions only.
var ecosystems = map[string]ecosystem{
	"Debian": {purl: "deb", order: "Debian", distro: true, releases: true, native: "DEBIAN-CVE-", plain: debianPlain},
	"Ubuntu": {purl: "deb", order: "Ubuntu", distro: true, releases: true, native: "UBUNTU-CVE-", plain: debianPlain, release: ubuntuRelease},

	"Alpine":                       {purl: "apk", order: "Alpine", distro: true, releases: true, native: "ALPINE-CVE-", plain: apkPlain, release: alpineRelease},
	"Alpaquita":                    {purl: "apk", order: "Alpaquita", distro: true, releases: true, native: "BELL-CVE-", plain: apkPlain},
	"BellSoft Hardened Containers": {purl: "apk", order: "BellSoft Hardened Containers", distro: true, releases: true, native: "BELL-CVE-", plain: apkPlain},
	"Chainguard":                   {purl: "apk", order: "Chainguard", distro: true, native: "CGA-", plain: apkPlain},
	"MinimOS":                      {purl: "apk", order: "MinimOS", distro: true, native: "MINI-", plain: apkPlain},
	"Wolfi":                        {purl: "apk", order: "Wolfi", distro: true, native: "CGA-", plain: apkPlain},

	"AlmaLinux":   {purl: "rpm", order: "AlmaLinux", distro: true, releases: true, native: "ALSA-", release: majorRelease},
	"Azure Linux": {purl: "rpm", order: "Red Hat", distro: true, releases: true, native: "AZL-"},
	"Mageia":      {purl: "rpm", order: "Mageia", distro: true, releases: true, native: "MGASA-"},
	"Photon OS":   {purl: "rpm", order: "Red Hat", distro: true, releases: true, native: "PHSA-"},
	"Red Hat":     {purl: "rpm", order: "Red Hat", distro: true, releases: true, native: "RHSA-", release: redHatRelease},
	"Rocky Linux": {purl: "rpm", order: "Rocky Linux", distro: true, releases: true, native: "RLSA-", release: majorRelease},
	"SUSE":        {purl: "rpm", order: "SUSE", distro: true, releases: true, native: "SUSE-SU-"},
	"openEuler":   {purl: "rpm", order: "openEuler", distro: true, releases: true, native: "OESA-"},
	"openSUSE":    {purl: "rpm", order: "openSUSE", distro: true, releases: true, native: "openSUSE-SU-"},

	"Bioconductor":   {purl: "bioconductor", order: "Bioconductor", plain: semverPlain},
	"Bitnami":        {purl: "bitnami", order: "Bitnami", native: "BIT-", plain: semverPlain, fold: strings.ToLower},
	"CRAN":           {purl: "cran", order: "CRAN", native: "RSEC-", plain: startsWithDigit},
	"ConanCenter":    {purl: "conan", order: "ConanCenter", plain: semverPlain},
	"GHC":            {purl: "ghc", order: "GHC", native: "HSEC-", plain: semverPlain},
	"GitHub Actions": {purl: "githubactions", native: "GHSA-", plain: semverPlain, fold: strings.ToLower},
	"Go":             {purl: "golang", order: "Go", native: "GO-", plain: semverPlain, fold: goName, version: goVersion},
	"Hackage":        {purl: "hackage", order: "Hackage", native: "HSEC-", plain: startsWithDigit},
	"Hex":            {purl: "hex", order: "Hex", native: "EEF-CVE-", plain: semverPlain, fold: strings.ToLower},
	"Julia":          {purl: "julia", order: "Julia", native: "JLSEC-", plain: semverPlain},
	"Maven":          {purl: "maven", order: "Maven", native: "GHSA-", plain: mavenPlain, sep: ":"},
	"NuGet":          {purl: "nuget", order: "NuGet", native: "GHSA-", plain: semverPlain, fold: strings.ToLower},
	"Packagist":      {purl: "composer", order: "Packagist", native: "GHSA-", plain: composerPlain, fold: strings.ToLower},
	"Pub":            {purl: "pub", order: "Pub", native: "GHSA-", plain: semverPlain, fold: strings.ToLower},
	"PyPI":           {purl: "pypi", order: "PyPI", native: "PYSEC-", plain: pypiPlain, fold: pypiName},
	"RubyGems":       {purl: "gem", order: "RubyGems", native: "GHSA-", plain: startsWithDigit},
	"SwiftURL":       {purl: "swift", order: "SwiftURL", native: "GHSA-", plain: semverPlain, fold: strings.ToLower},
	"crates.io":      {purl: "cargo", order: "crates.io", native: "RUSTSEC-", plain: semverPlain},
	"npm":            {purl: "npm", order: "npm", native: "GHSA-", plain: semverPlain},
	"opam":           {purl: "opam", native: "OSEC-"},
}

// byPURL gives the ecosystem of the purl types that have one alone.
var byPURL = func() map[string]string {
	m := map[string]string{}
	for name, e := range ecosystems {
		if !e.distro {
			m[e.purl] = name
		}
	}
	return m
}()

// lookupEcosystem returns the row of the table for an ecosystem without
// release, or one made up for an unknown ecosystem.
func lookupEcosystem(base string) ecosystem {
	if e, ok := ecosystems[base]; ok {
		return e
	}
	return ecosystem{purl: strings.ToLower(base)}
}

// BaseEcosystem returns the ecosystem without its release: "Debian" of
// "Debian:12".
func BaseEcosystem(eco string) string {
	base, _, _ := strings.Cut(eco, ":")
	return base
}

// canonicalEcosystem returns the one form under which an ecosystem is indexed
// and looked up. Distributions keep their release, in one spelling;
// of the others what follows the colon is a registry's URL ("Maven:https://…"),
// which an image does not tell, so registries of one ecosystem are not told
// apart.
func canonicalEcosystem(eco string) (base, full string) {
	base, rel, _ := strings.Cut(eco, ":")
	e := lookupEcosystem(base)
	switch {
	case rel == "" || !e.distro:
		return base, base
	case e.release != nil:
		if rel = e.release(rel); rel == "" {
			return base, base
		}
	}
	return base, base + ":" + rel
}

// ubuntuRelease writes "22.04:LTS" as "22.04", "Pro:22.04:LTS" as "Pro:22.04".
// Long-term support says how long a release gets fixes, not what it is.
func ubuntuRelease(rel string) string {
	return strings.TrimSuffix(rel, ":LTS")
}

// alpineRelease writes "3.20.1" and "v3.20" as "v3.20": advisories are for the
// branch.
func alpineRelease(rel string) string {
	rel = strings.TrimPrefix(rel, "v")
	if rel == "" || rel[0] < '0' || rel[0] > '9' {
		return rel // edge
	}
	if parts := strings.SplitN(rel, ".", 3); len(parts) == 3 {
		rel = parts[0] + "." + parts[1]
	}
	return "v" + rel
}

// majorRelease writes "9.4" as "9".
func majorRelease(rel string) string {
	major, _, _ := strings.Cut(rel, ".")
	return major
}

// redHatRelease writes "enterprise_linux:9::appstream" and "9.4" as "9". Other
// streams (rhel_eus, openshift) stay as they are and match nothing else.
func redHatRelease(rel string) string {
	if rest, ok := strings.CutPrefix(rel, "enterprise_linux:"); ok {
		rel, _, _ = strings.Cut(rest, ":")
	}
	if strings.Contains(rel, ":") {
		return rel
	}
	return majorRelease(rel)
}

// pypiName is the normal form of the name of a Python project:
// https://packaging.python.org/en/latest/specifications/name-normalization/
func pypiName(name string) string {
	var b strings.Builder
	b.Grow(len(name))
	run := false
	for i := range len(name) {
		c := name[i]
		if c == '-' || c == '_' || c == '.' {
			run = true
			continue
		}
		if run {
			b.WriteByte('-')
			run = false
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	if run {
		b.WriteByte('-')
	}
	return b.String()
}

// goName writes the names that tools give to the standard library as OSV does.
// The case of a module path is folded because purl folds it.
func goName(name string) string {
	if name == "go" {
		return "stdlib"
	}
	return strings.ToLower(name)
}

// goVersion writes the version of a Go release, "go1.21", "go1.22rc1", as the
// semantic version by which the Go database orders it: "1.21", "1.22.0-rc1".
// Others lose their "v".
func goVersion(v string) string {
	rel, isRelease := strings.CutPrefix(v, "go")
	if !isRelease {
		rel = strings.TrimPrefix(v, "v")
	}
	rel, _, _ = strings.Cut(rel, " ") // "1.21.3 X:boringcrypto"
	for _, pre := range []string{"rc", "beta"} {
		if i := strings.Index(rel, pre); i > 0 && isDigit(rel[i-1]) {
			num := rel[:i]
			for strings.Count(num, ".") < 2 {
				num += ".0"
			}
			return num + "-" + rel[i:]
		}
	}
	return rel
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func startsWithDigit(v string) bool { return isDigit(v[0]) }

// debianPlain: "The upstream_version must contain only alphanumerics and the
// characters . + - ~", deb-version(7). The first one should be a digit, but is
// not always.
func debianPlain(v string) bool {
	for i := range len(v) {
		c := v[i]
		if !isDigit(c) && !isLetter(c) && strings.IndexByte(".+-~:_", c) < 0 {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// apkVersion is the form of apk-package(5). Package semantic orders any other
// text below all versions.
var apkVersion = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9]+(\.[0-9]+)*[a-z]?(_(alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]*)*(~[0-9a-f]+)?(-r[0-9]+)?$`)
})

func apkPlain(v string) bool { return apkVersion().MatchString(v) }

// semverPlain reports whether v begins as a semantic version does; package
// semantic would order any other text below all versions.
func semverPlain(v string) bool {
	v = strings.TrimPrefix(v, "v")
	return v != "" && isDigit(v[0])
}

// mavenPlain refuses what a build has left unresolved: "${project.version}".
func mavenPlain(v string) bool { return !strings.ContainsAny(v, "${}[](), ") }

// composerPlain refuses branches: "dev-main", "1.x-dev" is one too but ordered.
func composerPlain(v string) bool { return !strings.HasPrefix(v, "dev-") && semverPlain(v) }

// pypiPlain refuses what no Python version begins with.
func pypiPlain(v string) bool { return semverPlain(strings.ToLower(v)) }

// PackageKey names a package wherever it comes from: what the inventory of a
// layer knows before the distribution is known. It is the key of the inverse
// index from packages to sets. Packages of different distributions share keys;
// what is found by a key is matched again, precisely.
type PackageKey struct {
	Type string // purl type
	Name string // in the form that advisories use, case and separators folded
}

// KeysOf returns the keys of a package, at least one. An RPM has two when its
// source is named differently, as advisories name one or the other.
func KeysOf(p *inventory.Package) []PackageKey {
	names := advisoryNames(p, foldOf(p.Type))
	keys := make([]PackageKey, len(names))
	for i, n := range names {
		keys[i] = PackageKey{p.Type, n}
	}
	return keys
}

// VersionOf returns the version of a package by which it is compared with what
// advisories about one of its keys say: the source's where they name the source.
func VersionOf(p *inventory.Package, k PackageKey) string { return advisoryVersion(p, k.Name) }

// foldOf returns how names of a purl type are folded, nil when they are not.
func foldOf(purlType string) func(string) string {
	return ecosystems[byPURL[purlType]].fold
}

// advisoryNames returns the names under which advisories may know p: the
// source package of Debian and Alpine packages, both names of an RPM, the full
// name of all others.
func advisoryNames(p *inventory.Package, fold func(string) string) []string {
	switch p.Type {
	case "deb", "apk":
		if p.Source != "" {
			return []string{p.Source}
		}
		return []string{p.Name}
	case "rpm":
		if p.Source != "" && p.Source != p.Name {
			return []string{p.Name, p.Source}
		}
		return []string{p.Name}
	}
	name := FullName(p)
	if fold != nil {
		name = fold(name)
	}
	return []string{name}
}

// FullName returns the name as people write it, with its namespace where that
// is part of it: "@scope/name", "group:artifact", "example.com/module".
func FullName(p *inventory.Package) string {
	if p.Namespace == "" || p.Type == "deb" || p.Type == "apk" || p.Type == "rpm" {
		return p.Name
	}
	sep := ecosystems[byPURL[p.Type]].sep
	if sep == "" {
		sep = "/"
	}
	if strings.HasPrefix(p.Name, p.Namespace+sep) {
		return p.Name
	}
	return p.Namespace + sep + p.Name
}

// advisoryVersion is the version that advisories about name order by: the
// source's where they name the source.
func advisoryVersion(p *inventory.Package, name string) string {
	switch p.Type {
	case "deb", "apk":
		if p.SourceVer != "" {
			return p.SourceVer
		}
	case "rpm":
		if name == p.Source && name != p.Name && p.SourceVer != "" {
			return p.SourceVer
		}
	}
	return p.Version
}
