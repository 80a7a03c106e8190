package verify

import (
	"embed"
	"time"
)

//go:embed roots/*.json
var rootFiles embed.FS

// ShippedRoot is a trusted root that comes with the program.
type ShippedRoot struct {
	Name string // by which a configuration takes it
	Kind Kind   // of the anchors that it goes with, beside KindKey
	// AsOf is the day of which it is. What its instance trusts since, or no more, is
	// not in it.
	AsOf     time.Time
	Document []byte // trusted_root.json
}

// Shipped returns the trusted roots that come with the program; roots/NOTICE says
// where they are from.
func Shipped() []ShippedRoot {
	all := []ShippedRoot{
		{Name: "public-good", Kind: KindSigstore, AsOf: time.Date(2026, 5, 7, 0, 0, 0, 0, time.UTC)},
		{Name: "github", Kind: KindGitHub, AsOf: time.Date(2026, 6, 29, 0, 0, 0, 0, time.UTC)},
	}
	for i := range all {
		// A file that is not there was not compiled in: the anchor then has no root, and is refused.
		all[i].Document, _ = rootFiles.ReadFile("roots/" + all[i].Name + ".json")
	}
	return all
}

// FindShipped returns the one of a name.
func FindShipped(name string) (ShippedRoot, bool) {
	for _, r := range Shipped() {
		if r.Name == name {
			return r, true
		}
	}
	return ShippedRoot{}, false
}
