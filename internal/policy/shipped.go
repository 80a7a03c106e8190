package policy

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed gates/*.yaml
var shipped embed.FS

// Shipped returns the names of the gates that come with the program, sorted.
func Shipped() []string {
	entries, err := shipped.ReadDir("gates")
	if err != nil {
		panic("policy: gates are not embedded: " + err.Error())
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// ShippedText returns the text of a shipped gate, to be read or to start an own
// one from.
func ShippedText(name string) ([]byte, error) {
	if !slices.Contains(Shipped(), name) {
		return nil, fmt.Errorf("no gate %q comes with this program: there are %s", name, strings.Join(Shipped(), ", "))
	}
	return shipped.ReadFile("gates/" + name + ".yaml")
}

// ShippedGate parses a shipped gate.
func ShippedGate(name string) (*Gate, error) {
	text, err := ShippedText(name)
	if err != nil {
		return nil, err
	}
	return Parse(name+".yaml", text)
}
