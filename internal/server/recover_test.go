package server

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// TestRestoredBackup: a server whose database was set back answers nobody, so
// that no tag is what it was before, until somebody says that it is to go on;
// then its states are newer than all that were seen.
func TestRestoredBackup(t *testing.T) {
	heads := t.TempDir()
	var c *config.Config
	w := newWorld(t, func(o *Options) {
		o.Config.Trust.HeadStore = config.Path(heads)
		c = o.Config
	})
	const r = "catalog/app"
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	ann := w.enrol("ann", "developer")
	one := w.pushImage(ann, r, "1", layerOf(t, map[string][]byte{"etc/one": []byte("1")}))
	w.settled(r, one.Digest, repo.Admitted)
	w.tagged(r, "1", one.Digest)
	w.proven(ann, r) // by a batch, which is proved anew later
	w.stop()
	backup := filepath.Join(t.TempDir(), "bonded.db")
	copyFile(t, filepath.Join(w.dir, "bonded.db"), backup)
	w.start()
	two := w.pushImage(ann, r, "1", layerOf(t, map[string][]byte{"etc/two": []byte("2")}))
	w.settled(r, two.Digest, repo.Admitted)
	w.tagged(r, "1", two.Digest)
	seen := w.proven(ann, r)
	w.stop()
	for _, name := range []string{"bonded.db-wal", "bonded.db-shm"} {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	copyFile(t, backup, filepath.Join(w.dir, "bonded.db"))
	if _, err := New(t.Context(), w.options()); !errors.Is(err, tlog.ErrBehind) {
		t.Fatalf("a server that was set back starts: %v", err)
	}
	told := *c
	told.URL = w.url
	before := time.Now()
	if _, err := (parts{"test"}).rotate(t.Context(), &told, cli.RotateRequest{GiveUp: true, Above: seen.Epoch.Epoch}); err != nil {
		t.Fatal(err)
	}
	w.start()
	now := w.proven(ann, r)
	if now.Epoch.Epoch <= seen.Epoch.Epoch || now.Epoch.Epoch <= before.UnixMilli() {
		t.Errorf("epoch %d was seen before, and is %d now", seen.Epoch.Epoch, now.Epoch.Epoch)
	}
	res, body := w.request(ann, http.MethodGet, "/v2/"+r+"/manifests/1", nil)
	w.want(http.StatusOK, res, body)
	if got := res.Header.Get("Docker-Content-Digest"); got != one.Digest.String() {
		t.Errorf("tag 1 is %s", got)
	}
	w.event("trust.recovered", "epochs", "1")
}
