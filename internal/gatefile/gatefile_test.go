package gatefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/gatefile"
	"github.com/bonded-dev/bonded/internal/policy"
)

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	const head = "apiVersion: bonded.dev/v1\nkind: Data\nname: users\nlist: [a]\n"
	users, again := file(t, "users.yaml", head), file(t, "again.yaml", head)
	data, err := gatefile.ReadData(users)
	if err != nil {
		t.Fatal(err)
	}
	gate := file(t, "gate.yaml", "apiVersion: bonded.dev/v1\nkind: Gate\nname: g\naccepts: [image]\nenter: [{rule: a, says: b, require: config.user in data.users}]\n")
	if g, text, err := gatefile.Read(gate, data...); err != nil || g.Name() != "g" || len(text) == 0 {
		t.Errorf("gate %v of %d bytes: %v", g, len(text), err)
	}
	if _, _, err := gatefile.Read(gate); !errors.Is(err, policy.ErrGateInvalid) {
		t.Errorf("without its data: %v", err)
	}
	if _, err := gatefile.ReadData(users, again); !errors.Is(err, policy.ErrDataInvalid) || !strings.Contains(err.Error(), "both called") {
		t.Errorf("two of a name: %v", err)
	}
	if _, err := gatefile.ReadData(users + ".not"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if _, _, err := gatefile.Read(file(t, "long", strings.Repeat("a", 5<<20))); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too long: %v", err)
	}
}
