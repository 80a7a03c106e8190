package server

import (
	"errors"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/config"
)

// TestFullDiskIsNotHealthy: where nothing can be written health does not say ok,
// and where nobody can tell neither; pulls are served all the same.
func TestFullDiskIsNotHealthy(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		name string
		left uint64
		err  error
		says string
	}{
		{"room", leastRoom, nil, ""},
		{"little room", leastRoom - 1, nil, "no space left"},
		{"none", 0, nil, "has 0 KiB"},
		{"who knows", 0, errors.New("asking: no such device"), "no such device"},
	} {
		checks := w.checks(t.Context())
		w.crowded(checks, func(string) (uint64, error) { return test.left, test.err })
		for _, name := range []string{"content", "database"} {
			if got := checks[name]; !strings.Contains(got, test.says) || (got == "") != (test.says == "") {
				t.Errorf("%s: %s is %q, want %q", test.name, name, got, test.says)
			}
		}
	}
	if why := w.notReady(t.Context()); why != "" {
		t.Errorf("not ready: %s", why)
	}
	if got := databaseDir(&config.Config{Data: "a", Database: config.Database{SQLite: &config.SQLite{Path: "b/c.db"}}}); got != "b" {
		t.Errorf("the database is in %q", got)
	}
	known := map[string]string{"content": "away"}
	elsewhere := Server{config: &config.Config{Database: config.Database{Postgres: &config.Postgres{}}}}
	elsewhere.crowded(known, func(string) (uint64, error) { return 0, nil })
	if len(known) != 1 || known["content"] != "away" {
		t.Errorf("checks: %v", known)
	}
	if n, err := left(t.TempDir()); err != nil || n == 0 {
		t.Errorf("left here: %d, %v", n, err)
	}
}
