//go:build conformance

package conformance

import (
	"cmp"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/test/drive"
)

// namedTarget is a registry that can be started when a program is at hand to
// test it.
type namedTarget struct {
	name  string
	start func(t *testing.T) target
}

// targets are the registry that the environment names, or else ours.
func targets(t *testing.T) []namedTarget {
	t.Helper()
	if root := os.Getenv("BONDED_CONFORMANCE_URL"); root != "" {
		other := target{
			url:        parse(t, root),
			repository: cmp.Or(os.Getenv("BONDED_CONFORMANCE_REPOSITORY"), "conformance"),
			username:   os.Getenv("BONDED_CONFORMANCE_USERNAME"),
			password:   os.Getenv("BONDED_CONFORMANCE_PASSWORD"),
		}
		return []namedTarget{{name: "other", start: func(*testing.T) target { return other }}}
	}
	named := []namedTarget{
		{name: "sandbox", start: startSandbox},
		{name: "gated", start: startGated},
	}
	for _, shape := range drive.Shapes {
		named = append(named, namedTarget{name: shape.Name, start: func(t *testing.T) target { return startShape(t, shape) }})
	}
	return named
}

// startShape is a server as it is run: TLS with an authority of its own, a
// storage shape, an account that enrolled.
func startShape(t *testing.T, shape drive.Shape) target {
	t.Helper()
	server := drive.Start(t, drive.Options{Config: allowAll + shape.Config(t)})
	user := server.Enrol("conformance", "admin")
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, []byte(server.CA()), 0o600); err != nil {
		t.Fatal(err)
	}
	return target{
		url: parse(t, server.URL()), repository: "open/conformance", username: user.Name, password: user.Secret,
		env: []string{"SSL_CERT_FILE=" + ca},
	}
}

// allowAll is a zone whose gate asks nothing, as in docs/gates.md.
const allowAll = "feeds: []\nzones: [{name: open, gate: allow-all}]\n"

// startSandbox is the ungated zone of a development server, without login.
func startSandbox(t *testing.T) target {
	t.Helper()
	return target{url: parse(t, testparts.Dev(t).URL), repository: "sandbox/conformance"}
}

// startGated is a zone with login whose gate allows everything.
func startGated(t *testing.T) target {
	t.Helper()
	server := testparts.Dev(t)
	return target{
		url:        parse(t, server.URL),
		repository: "dev/conformance",
		username:   "administrator",
		password:   server.Token,
	}
}

func parse(t *testing.T, root string) *url.URL {
	t.Helper()
	u, err := url.Parse(root)
	if err != nil {
		t.Fatalf("parsing the registry's address: %v", err)
	}
	return u
}
