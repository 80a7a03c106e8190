package analyze

import (
	"strconv"
	"strings"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// ecosystemOf returns the OSV ecosystem of a distribution's release as OSV
// records write it (https://ossf.github.io/osv-schema/#defined-ecosystems), ""
// when OSV has none for it. cpe is CPE_NAME of os-release.
func ecosystemOf(d inventory.Distro, cpe string) string {
	if to, ok := ecosystems[d.ID]; ok {
		return to(d.VersionID, cpe)
	}
	return ""
}

// ecosystems by ID of os-release. A function gets VERSION_ID and CPE_NAME and
// returns "" when the release is unknown: a distribution without its release
// matches no advisory.
var ecosystems = map[string]func(version, cpe string) string{
	"debian":        func(v, _ string) string { return named("Debian", major(v)) },
	"ubuntu":        func(v, _ string) string { return ubuntu(v) },
	"alpine":        func(v, _ string) string { return alpine(v) },
	"wolfi":         rolling("Wolfi"),
	"chainguard":    rolling("Chainguard"),
	"minimos":       rolling("MinimOS"),
	"echo":          rolling("Echo"),
	"cleanstart":    rolling("CleanStart"),
	"alpaquita":     func(v, _ string) string { return named("Alpaquita", v) },
	"almalinux":     func(v, _ string) string { return named("AlmaLinux", major(v)) },
	"rocky":         func(v, _ string) string { return named("Rocky Linux", major(v)) },
	"rhel":          func(_, cpe string) string { return redHat(cpe) },
	"mageia":        func(v, _ string) string { return named("Mageia", v) },
	"azurelinux":    func(v, _ string) string { return named("Azure Linux", major(v)) },
	"mariner":       func(v, _ string) string { return named("Azure Linux", major(v)) },
	"openeuler":     func(v, _ string) string { return named("openEuler", v) },
	"opensuse-leap": func(v, _ string) string { return leap(v) },
	"sles":          func(v, _ string) string { return suse(v) },
}

func rolling(name string) func(string, string) string {
	return func(string, string) string { return name }
}

// named joins a name and a release, "" without a release.
func named(name, release string) string {
	if release == "" {
		return ""
	}
	return name + ":" + release
}

func major(version string) string {
	v, _, _ := strings.Cut(version, ".")
	return v
}

// ubuntu: April of even years is a long-term release, and OSV says so.
func ubuntu(version string) string {
	year, month, ok := strings.Cut(version, ".")
	if !ok {
		return ""
	}
	if n, err := strconv.Atoi(year); err == nil && n%2 == 0 && month == "04" {
		return "Ubuntu:" + version + ":LTS"
	}
	return "Ubuntu:" + version
}

// alpine: "3.20.1" is "Alpine:v3.20"; edge says "3.21_alpha20240807" and has no
// advisories of its own.
func alpine(version string) string {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 || !isNumber(parts[0]) || !isNumber(parts[1]) {
		return ""
	}
	return "Alpine:v" + parts[0] + "." + parts[1]
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

// redHat: "cpe:/o:redhat:enterprise_linux:9::baseos" is
// "Red Hat:enterprise_linux:9::baseos".
func redHat(cpe string) string {
	_, product, ok := strings.Cut(cpe, ":redhat:")
	if !ok || product == "" {
		return ""
	}
	return "Red Hat:" + product
}

// leap: "15.5" is "openSUSE:Leap 15.5".
func leap(version string) string {
	if version == "" {
		return ""
	}
	return "openSUSE:Leap " + version
}

// suse: "15.5" is "SUSE:Linux Enterprise Server 15 SP5".
func suse(version string) string {
	main, sp, ok := strings.Cut(version, ".")
	switch {
	case version == "":
		return ""
	case ok:
		return "SUSE:Linux Enterprise Server " + main + " SP" + sp
	}
	return "SUSE:Linux Enterprise Server " + main
}
