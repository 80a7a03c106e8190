package repo

import (
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Zone is a level of trust inside the registry.
type Zone struct {
	Name string
	// Gate names the gate that judges what stands here; "" only for a sandbox.
	Gate string
	// From lists the zones that placements may be promoted from.
	From []string
	// Sandbox: anonymous, nothing is judged or attached, no source of promotion
	// and no zone of a cluster. Only development servers have one.
	Sandbox bool
}

// QuarantineName is that of the zone, and of the shipped gate, for what comes
// from outside.
const QuarantineName = "quarantine"

// Quarantine reports whether the zone is one for what comes from outside: it, or
// its gate, has that name. Such a gate takes in what nobody has looked into, so
// what stands here is for who brought it and for who may pull from quarantine,
// whatever its state, and becomes anyone else's by promotion alone.
func (z Zone) Quarantine() bool { return z.Name == QuarantineName || z.Gate == QuarantineName }

// Gated reports whether a gate decides what can be pulled here.
func (z Zone) Gated() bool { return !z.Sandbox }

// Zones is the set of zones of a server, by name.
type Zones map[string]Zone

// DefaultZones are the zones of a server that configures none.
func DefaultZones() Zones {
	z := Zones{}
	for _, zone := range []Zone{
		{Name: QuarantineName},
		{Name: "catalog", From: []string{QuarantineName}},
		{Name: "dev"},
		{Name: "staging", From: []string{"dev"}},
		{Name: "production", From: []string{"staging", "catalog"}},
	} {
		zone.Gate = zone.Name
		z[zone.Name] = zone
	}
	return z
}

// Of returns the zone of a repository. Errors match ErrNotFound and name the
// zones there are.
func (z Zones) Of(r oci.Repository) (Zone, error) {
	zone, ok := z[r.Zone()]
	if !ok || r.Path() == "" {
		return Zone{}, fmt.Errorf("%w: repository %s is in no zone: its first path segment must be one of %v, followed by a path", ErrNotFound, r, z.Names())
	}
	return zone, nil
}

// Names returns the zones' names, sorted.
func (z Zones) Names() []string {
	names := make([]string, 0, len(z))
	for n := range z {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Check reports ways that lead nowhere and zones without a gate.
func (z Zones) Check() error {
	for _, n := range z.Names() {
		zone := z[n]
		if zone.Sandbox == (zone.Gate != "") {
			return fmt.Errorf("zone %s: exactly a zone that is no sandbox has a gate", n)
		}
		for _, from := range zone.From {
			src, ok := z[from]
			if !ok {
				return fmt.Errorf("zone %s: promoted from %s, which is no zone", n, oci.Quote(from))
			}
			if src.Sandbox || zone.Sandbox {
				return fmt.Errorf("zone %s: promoted from %s: a sandbox takes no part in promotion", n, from)
			}
		}
	}
	return nil
}
