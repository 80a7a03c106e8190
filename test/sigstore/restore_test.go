package sigstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRestored: a database from a backup is found out by the head store, and is
// gone on with only when somebody says so. Under new keys then, so that what the
// database lost and what comes instead are never one history.
func TestRestored(t *testing.T) {
	heads := t.TempDir()
	w := newWorld(t, fmt.Sprintf("trust: {head_store: %q, origin: logs.example}\n", heads))
	w.signBlob("first")
	w.server.Stop()
	backup := w.database()
	w.server.Again()
	w.login()
	w.signBlob("second")
	old := w.run(w.server.Binary, "trust", "root")
	w.server.Stop()
	w.restore(backup)
	err := w.server.TryAgain()
	if err == nil {
		t.Fatal("a server goes on with an old database")
	}
	w.has(err.Error(), "restored from a backup")
	w.has(err.Error(), "bonded trust recover")

	if out, err := w.server.Command("trust", "recover"); err != nil {
		t.Fatalf("recovering: %v\n%s", err, out)
	}
	w.server.Again()
	w.login()
	w.signBlob("third")
	w.write("old_root.json", old)
	w.write("new_root.json", w.run(w.server.Binary, "trust", "root"))
	for _, name := range []string{"first", "second", "third"} {
		w.cosign(w.verifyBlob(name, "new_root.json")...)
	}
	w.cosign(w.verifyBlob("second", "old_root.json")...)
	w.refused("not enough verified log entries", w.verifyBlob("third", "old_root.json")...)
	if given, err := filepath.Glob(filepath.Join(heads, "*.given-up-*")); err != nil || len(given) < 2 {
		t.Errorf("heads that were given up: %v, %v", given, err)
	}
	w.server.Stop()
	w.server.Again()
}

func (w *world) signBlob(name string) {
	w.Helper()
	w.write(name+".txt", name)
	w.cosign("sign-blob", "--yes", "--bundle", name+".json", name+".txt")
}

func (w *world) verifyBlob(name, root string) []string {
	args := []string{"verify-blob", "--bundle", name + ".json", "--certificate-identity", ann, "--certificate-oidc-issuer-regexp", "^https://127.0.0.1:[0-9]+/oidc$"}
	return append(args, "--trusted-root", root, name+".txt")
}

// database returns the files of a database that nobody has open.
func (w *world) database() map[string][]byte {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(w.server.Data(), "bonded.db*"))
	if err != nil || len(files) == 0 {
		w.Fatalf("the database: %v, %v", files, err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		if all[f], err = os.ReadFile(f); err != nil {
			w.Fatal(err)
		}
	}
	return all
}

// restore replaces them.
func (w *world) restore(files map[string][]byte) {
	w.Helper()
	for name := range w.database() {
		if err := os.Remove(name); err != nil {
			w.Fatal(err)
		}
	}
	for name, b := range files {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			w.Fatal(err)
		}
	}
}

// TestBelongTogether: keys without their database, and a database without its
// keys, are not taken for a new server.
func TestBelongTogether(t *testing.T) {
	w := newWorld(t, "")
	w.signBlob("first")
	w.server.Stop()
	keys, away := filepath.Join(w.server.Data(), "trust"), filepath.Join(w.server.Data(), "away")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(says string) {
		t.Helper()
		if err := w.server.TryAgain(); err == nil {
			t.Fatalf("the server starts; want %q", says)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want %q", err, says)
		}
	}
	move(keys, away)
	refused("there are no keys in " + keys)
	if _, err := os.Stat(keys); err == nil {
		t.Error("new keys were made")
	}
	move(away, keys)
	backup := w.database()
	w.restore(nil)
	refused("belong to logs that are in another database")
	w.restore(backup)
	key, err := filepath.Glob(filepath.Join(keys, "log-rekor-*.key"))
	if err != nil || len(key) != 1 {
		t.Fatal(key, err)
	}
	move(key[0], away)
	refused("never made anew")
	move(away, key[0])
	if err := os.Chmod(key[0], 0o644); err != nil {
		t.Fatal(err)
	}
	refused("can be read by others")
	if err := os.Chmod(key[0], 0o600); err != nil {
		t.Fatal(err)
	}
	w.server.Again()
	w.login()
	w.signBlob("second")
}
