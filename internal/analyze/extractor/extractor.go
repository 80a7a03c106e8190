// Package extractor holds the extractors: what finds packages in files.
//
// Where google/osv-scalibr has an extractor that can be let loose on foreign
// bytes in a server, it is wrapped, each imported by itself. The others are
// here: osv-scalibr's pass over damage without a word (dpkg, apk, Go programs)
// where what is not read must be a gap, decompress without a limit (jars,
// cargo-auditable), or search the whole file again for each package
// (package-lock.json). Each is admitted by package analyze/analyzetest and
// golden files.
package extractor

import "github.com/bonded-dev/bonded/internal/analyze"

// Sizes in bytes above which files are not looked into.
const (
	maxDatabase = 32 << 20  // package databases: real ones stay below 10 MiB
	maxLock     = 16 << 20  // lock files: real ones stay below 5 MiB
	maxManifest = 4 << 20   // what describes one package
	maxBinary   = 256 << 20 // programs and archives
)

// All returns every extractor there is.
func All() []analyze.Extractor {
	quiet()
	return []analyze.Extractor{
		apk{}, dpkg{}, goBinary{},
		nodeModule{}, npmLock{}, pnpmLock(), yarnLock(),
		python(), pythonArchive{python()}, gem(), java{}, rustBinary{}, nuget{}, composer{},
		unread("rpm", "var/lib/rpm/Packages", "var/lib/rpm/Packages.db", "var/lib/rpm/rpmdb.sqlite",
			"usr/lib/sysimage/rpm/Packages", "usr/lib/sysimage/rpm/Packages.db", "usr/lib/sysimage/rpm/rpmdb.sqlite",
			"usr/share/rpm/Packages", "usr/share/rpm/Packages.db", "usr/share/rpm/rpmdb.sqlite"),
		unread("pacman", "var/lib/pacman/local/ALPM_DB_VERSION"),
		unread("xbps", "var/db/xbps/pkgdb-0.38.plist"),
		unread("nix", "nix/var/nix/db/db.sqlite"),
	}
}

// Claimers returns what knows which files belong to OS packages.
func Claimers() []analyze.Claimer {
	return []analyze.Claimer{apkFiles{}, dpkgFiles{}}
}
