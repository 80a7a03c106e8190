package server

import (
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/gatefile"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// zonesOf returns the zones that the configuration states, or the default ones.
func zonesOf(c *config.Config, dev bool) (repo.Zones, error) {
	zones := repo.DefaultZones()
	if len(c.Zones) > 0 {
		zones = repo.Zones{}
	}
	for _, z := range c.Zones {
		gate := z.Gate
		if gate == "" {
			gate = z.Name
		}
		zones[z.Name] = repo.Zone{Name: z.Name, Gate: gate, From: z.From}
	}
	if dev {
		if _, ok := zones[config.SandboxZone]; ok {
			return nil, fmt.Errorf("zone %s is configured, but a development server has one of its own that is not judged; give yours another name", config.SandboxZone)
		}
		zones[config.SandboxZone] = repo.Zone{Name: config.SandboxZone, Sandbox: true}
	}
	return zones, zones.Check()
}

// gates holds the gates of a server by name, with their text.
type gates struct {
	compiled map[string]*policy.Gate
	text     map[string][]byte
	data     []*policy.Data // that those of the configuration may name
}

// gatesOf returns the shipped gates, with those of the configuration in their
// place or beside them.
func gatesOf(c *config.Config) (*gates, error) {
	g := &gates{compiled: map[string]*policy.Gate{}, text: map[string][]byte{}}
	for _, name := range policy.Shipped() {
		text, err := policy.ShippedText(name)
		if err != nil {
			return nil, err
		}
		if g.compiled[name], err = policy.Parse(name, text); err != nil {
			return nil, err
		}
		g.text[name] = text
	}
	var err error
	if g.data, err = gatefile.ReadData(texts(c.GateData)...); err != nil {
		return nil, err
	}
	for name, path := range c.Gates {
		if g.compiled[name], g.text[name], err = gatefile.Read(string(path), g.data...); err != nil {
			return nil, fmt.Errorf("gate %s: %w", name, err)
		}
	}
	return g, nil
}

// texts are strings of another type as strings.
func texts[S ~string](all []S) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = string(s)
	}
	return out
}

func (g *gates) names() []string {
	names := make([]string, 0, len(g.compiled))
	for n := range g.compiled {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (g *gates) wire(name string) api.Gate {
	return api.Gate{Name: name, Digest: g.compiled[name].Digest().String(), Text: string(g.text[name])}
}

// openIn lets anyone work in the sandbox of a development server.
func openIn(zones repo.Zones) authz.Open {
	return func(r oci.Repository, v authz.Verb) bool {
		zone, err := zones.Of(r)
		if err != nil || !zone.Sandbox {
			return false
		}
		return v == authz.Pull || v == authz.Push || v == authz.Attach || v == authz.Delete
	}
}
