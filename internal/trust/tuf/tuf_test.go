package tuf

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore-go/pkg/root"
	sigtuf "github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/fetcher"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/trust"
)

// world is an instance that publishes, with a clock, and a client's cache.
type world struct {
	t     testing.TB
	now   time.Time
	o     trust.Options
	i     *trust.Instance
	repo  *Repository
	store *Dir
	url   string
	cache string
}

func newWorld(t testing.TB, now time.Time) *world {
	t.Helper()
	w := &world{t: t, now: now, cache: t.TempDir()}
	clock := func() time.Time { return w.now }
	w.o = trust.Options{
		Dir: filepath.Join(t.TempDir(), "trust"), Origin: "bonded.example", URL: "https://bonded.example",
		Clock: clock, Log: slog.New(slog.DiscardHandler),
	}
	i, err := trust.Init(t.Context(), w.o, trust.InitOptions{
		Prepare: func(ctx context.Context, dir string, i *trust.Instance, off *trust.Offline) error {
			files, err := Documents(i)
			if err != nil {
				return err
			}
			return New(w.options(NewDir(filepath.Join(dir, "tuf")), i)).Publish(ctx, Update{Files: files, Offline: off})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.i, w.store = i, NewDir(filepath.Join(w.o.Dir, "tuf"))
	w.repo = New(w.options(w.store, i))
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.repo.ServeHTTP(rw, r) }))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *world) options(s Store, k Keys) Options {
	return Options{Store: s, Keys: k, Clock: func() time.Time { return w.now }, Log: slog.New(slog.DiscardHandler)}
}

func (w *world) offline(path string) *trust.Offline {
	w.t.Helper()
	if path == "" {
		path = filepath.Join(w.o.Dir, trust.OfflineName)
	}
	off, err := trust.OpenOffline(w.t.Context(), path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return off
}

// update is a client with a cache that lasts for the test.
func (w *world) update() (map[string][]byte, error) {
	w.t.Helper()
	first, _, err := w.repo.FirstRoot(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	cfg, err := config.New(w.url, first)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = w.cache, filepath.Join(w.cache, "targets")
	cfg.PrefixTargetsWithHash = true
	cfg.Fetcher = fetcher.NewDefaultFetcher()
	up, err := updater.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	up.UnsafeSetRefTime(w.now)
	if err := up.Refresh(); err != nil {
		return nil, err
	}
	got := map[string][]byte{}
	for name, info := range up.GetTopLevelTargets() {
		if _, got[name], err = up.DownloadTarget(info, "", ""); err != nil {
			return nil, err
		}
	}
	return got, nil
}

func (w *world) refresh() time.Time {
	w.t.Helper()
	next, err := w.repo.Refresh(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return next
}

func (w *world) sees(i *trust.Instance) {
	w.t.Helper()
	got, err := w.update()
	if err != nil {
		w.t.Fatalf("go-tuf's updater: %v", err)
	}
	want, err := Documents(i)
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("the client has other documents (-want +got):\n%s", diff)
	}
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestUpdaterReadsTheDocuments(t *testing.T) {
	w := newWorld(t, start)
	w.sees(w.i)
	if same, err := w.repo.Published(t.Context(), map[string][]byte{"trusted_root.json": nil}); err != nil || same {
		t.Errorf("Published(other files) = %v, %v", same, err)
	}
	files, _ := Documents(w.i)
	if same, err := w.repo.Published(t.Context(), files); err != nil || !same {
		t.Errorf("Published(these files) = %v, %v", same, err)
	}
}

func TestRefreshKeepsFresh(t *testing.T) {
	w := newWorld(t, start)
	w.sees(w.i)
	end := start.Add(100 * 24 * time.Hour)
	signed := 0
	for next := w.refresh(); w.now.Before(end); next = w.refresh() {
		if !next.After(w.now) {
			t.Fatalf("at %s Refresh wants to be called at %s", w.now, next)
		}
		w.now = next
		if signed++; signed%10 == 0 {
			w.sees(w.i)
		}
	}
	if signed < 90 || signed > 130 {
		t.Errorf("signed %d times in 100 days, want about one a day", signed)
	}
	w.sees(w.i)
}

func TestWithoutRefreshClientsStop(t *testing.T) {
	w := newWorld(t, start)
	w.now = start.Add(DefaultTimestampLife + time.Minute)
	if _, err := w.update(); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a stale timestamp: %v", err)
	}
	w.refresh()
	w.sees(w.i)
}

func TestRestoredBackupDoesNotLockClientsOut(t *testing.T) {
	w := newWorld(t, start)
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(w.o.Dir, "tuf"))); err != nil {
		t.Fatal(err)
	}
	for range 33 { // of which some sign the snapshot too
		w.now = w.refresh()
	}
	w.sees(w.i)
	w.repo = New(w.options(NewDir(backup), w.i))
	w.now = w.now.Add(time.Hour)
	if _, err := w.update(); err == nil {
		t.Error("the client took an old timestamp")
	}
	if _, err := w.repo.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.sees(w.i)
}

// TestSeed breaks a copy off at each file: nobody may take it for a repository,
// and the next one completes it.
func TestSeed(t *testing.T) {
	w := newWorld(t, start)
	w.now = w.refresh()
	for n := 0; ; n++ {
		to := &breaking{Store: NewDir(t.TempDir()), left: n}
		err := Seed(t.Context(), to, w.store)
		if err == nil {
			if n < 5 {
				t.Errorf("a copy has %d files", n)
			}
			break
		}
		if _, _, err := New(w.options(to, w.i)).FirstRoot(t.Context()); !errors.Is(err, ErrNone) {
			t.Fatalf("a copy of %d files is a repository: %v", n, err)
		}
		to.left = 1000
		if err := Seed(t.Context(), to, w.store); err != nil {
			t.Fatal(err)
		}
		w.repo = New(w.options(to, w.i))
		w.sees(w.i)
	}
	// what is there stays
	to := NewDir(t.TempDir())
	if err := Seed(t.Context(), to, w.store); err != nil {
		t.Fatal(err)
	}
	copied := New(w.options(to, w.i))
	if _, err := copied.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	newer, err := to.Get(t.Context(), timestampName)
	if err != nil {
		t.Fatal(err)
	}
	if err := Seed(t.Context(), to, w.store); err != nil {
		t.Fatal(err)
	}
	if got, err := to.Get(t.Context(), timestampName); err != nil || !bytes.Equal(got, newer) {
		t.Errorf("a second copy set the timestamp back: %v", err)
	}
	if err := Seed(t.Context(), NewDir(t.TempDir()), NewDir(t.TempDir())); !errors.Is(err, ErrNone) {
		t.Errorf("a copy of nothing: %v", err)
	}
}

// breaking stops to work after some writes.
type breaking struct {
	Store
	left int
}

func (b *breaking) Put(ctx context.Context, name string, content []byte) error {
	if b.left--; b.left < 0 {
		return errors.New("no more")
	}
	return b.Store.Put(ctx, name, content)
}

func (b *breaking) Replace(ctx context.Context, name string, old, content []byte) error {
	if b.left--; b.left < 0 {
		return errors.New("no more")
	}
	return b.Store.Replace(ctx, name, old, content)
}

// TestSeedsAtOnce: servers that start together copy, and what one of them signs
// is not set back by another.
func TestSeedsAtOnce(t *testing.T) {
	w := newWorld(t, start)
	for range 3 {
		dir := t.TempDir()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				to := NewDir(dir)
				if err := Seed(t.Context(), to, w.store); err != nil {
					t.Error(err)
					return
				}
				if _, err := New(w.options(to, w.i)).Renew(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		c, err := New(w.options(NewDir(dir), w.i)).load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if was, err := w.repo.load(t.Context()); err != nil || c.timestamp.Signed.Version <= was.timestamp.Signed.Version {
			t.Errorf("the timestamp is version %d, what was copied had %d; %v", c.timestamp.Signed.Version, was.timestamp.Signed.Version, err)
		}
	}
}

func TestRotationIsSeen(t *testing.T) {
	w := newWorld(t, start)
	w.sees(w.i)
	path := ""
	for n, slots := range [][]trust.Slot{
		{trust.Intermediate, trust.LogRekor},
		{trust.TUFSnapshot, trust.TUFTimestamp},
		{trust.TUFRoot, trust.TUFTargets, trust.TUFTimestamp},
		{trust.Root},
		{trust.TSA},
	} {
		w.now = w.now.Add(time.Hour)
		c := trust.RotateOptions{Slots: slots, Offline: w.offline(path), Publish: Hook(w.options(w.store, nil))}
		if n == 2 || n == 3 {
			path = filepath.Join(t.TempDir(), "offline.json")
			c.NewOffline = path
		}
		next, err := trust.Rotate(t.Context(), w.o, c)
		if err != nil {
			t.Fatalf("rotating %v: %v", slots, err)
		}
		if n == 1 {
			w.now = w.now.Add(DefaultTimestampLife)
			if _, err := w.repo.Refresh(t.Context()); !errors.Is(err, ErrKeys) {
				t.Errorf("a process that has not reloaded signs: %v", err)
			}
		}
		if err := w.i.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.refresh()
		w.sees(next)
	}
	// and a client that starts from the first root
	w.cache = t.TempDir()
	w.sees(w.i)
}

// interrupted fails the nth write.
type interrupted struct {
	*Dir
	left int
}

var errCut = errors.New("cut")

func (s *interrupted) cut() error {
	if s.left--; s.left < 0 {
		return errCut
	}
	return nil
}

func (s *interrupted) Put(ctx context.Context, name string, b []byte) error {
	if err := s.cut(); err != nil {
		return err
	}
	return s.Dir.Put(ctx, name, b)
}

func (s *interrupted) Replace(ctx context.Context, name string, old, b []byte) error {
	if err := s.cut(); err != nil {
		return err
	}
	return s.Dir.Replace(ctx, name, old, b)
}

func TestClientsNeverSeeHalfARotation(t *testing.T) {
	slots := []trust.Slot{trust.TUFRoot, trust.TUFTargets, trust.TUFSnapshot, trust.TUFTimestamp, trust.LogCT}
	for n := 0; ; n++ {
		w := newWorld(t, start)
		w.sees(w.i)
		w.now = w.now.Add(time.Hour)
		cut := &interrupted{Dir: w.store, left: n}
		c := trust.RotateOptions{
			Slots: slots, Offline: w.offline(""), NewOffline: filepath.Join(t.TempDir(), "new.json"),
			Publish: Hook(w.options(cut, nil)),
		}
		_, err := trust.Rotate(t.Context(), w.o, c)
		if _, seen := w.update(); seen != nil {
			t.Fatalf("after %d writes a client with a cache is refused: %v", n, seen)
		}
		w.cache = t.TempDir()
		if _, seen := w.update(); seen != nil {
			t.Fatalf("after %d writes a new client is refused: %v", n, seen)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		c.Publish = Hook(w.options(w.store, nil))
		next, err := trust.Rotate(t.Context(), w.o, c)
		if err != nil {
			t.Fatalf("repeating after %d writes: %v", n, err)
		}
		w.sees(next)
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t, start)
	files, _ := Documents(w.i)
	other := newWorld(t, start)
	if err := w.repo.Publish(t.Context(), Update{Files: files, Offline: other.offline("")}); !errors.Is(err, ErrKeys) {
		t.Errorf("another instance's offline keys: %v", err)
	}
	if err := w.repo.Publish(t.Context(), Update{Files: files}); err == nil {
		t.Error("published without offline keys")
	}
	if err := w.repo.Publish(t.Context(), Update{Files: map[string][]byte{"../x": nil}, Offline: w.offline("")}); err == nil {
		t.Error("published a target outside of the folder")
	}
	if _, err := New(w.options(NewDir(t.TempDir()), w.i)).Refresh(t.Context()); !errors.Is(err, ErrNone) {
		t.Errorf("an empty store: %v", err)
	}
	name := filepath.Join(w.o.Dir, "tuf", "timestamp.json")
	b, _ := os.ReadFile(name)
	if err := os.WriteFile(name, []byte(strings.Replace(string(b), `"expires":"2026`, `"expires":"2027`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.repo.Refresh(t.Context()); !errors.Is(err, ErrUnusable) {
		t.Errorf("a timestamp that was edited: %v", err)
	}
	if err := w.repo.Publish(t.Context(), Update{Files: files, Offline: w.offline("")}); err != nil {
		t.Errorf("publishing again mends it: %v", err)
	}
	w.sees(w.i)
}

func TestServe(t *testing.T) {
	w := newWorld(t, start)
	tests := []struct {
		method, path string
		status       int
		cache        string
	}{
		{"GET", "/1.root.json", 200, "immutable"},
		{"HEAD", "/timestamp.json", 200, "no-cache"},
		{"GET", "/2.root.json", 404, "no-store"},
		{"GET", "/../instance.json", 404, ""},
		{"GET", "/targets/trusted_root.json", 404, ""},
		{"PUT", "/1.root.json", 405, ""},
	}
	for _, test := range tests {
		rec := httptest.NewRecorder()
		w.repo.ServeHTTP(rec, httptest.NewRequest(test.method, test.path, nil))
		if rec.Code != test.status || !strings.Contains(rec.Header().Get("Cache-Control"), test.cache) {
			t.Errorf("%s %s: %d, %s", test.method, test.path, rec.Code, rec.Header().Get("Cache-Control"))
		}
	}
}

func TestSigstoreClient(t *testing.T) {
	w := newWorld(t, time.Now())
	first, _, err := w.repo.FirstRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := sigtuf.New(&sigtuf.Options{Root: first, RepositoryBaseURL: w.url, CachePath: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := root.GetTrustedRoot(c)
	if err != nil || len(tr.FulcioCertificateAuthorities()) != 1 {
		t.Errorf("trusted root: %v", err)
	}
	if sc, err := root.GetSigningConfig(c); err != nil || len(sc.RekorLogURLs()) != 1 {
		t.Errorf("signing configuration: %v", err)
	}
}

func TestCosignInitialize(t *testing.T) {
	cosign := testparts.Program(t, "cosign")
	w := newWorld(t, time.Now())
	_, sum, err := w.repo.FirstRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	initialize := func(sum string) (string, error) {
		cmd := exec.CommandContext(t.Context(), cosign, "initialize", "--mirror", w.url, "--root", w.url+"/1.root.json", "--root-checksum", sum)
		cmd.Env = append(os.Environ(), "HOME="+home)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := initialize(strings.Repeat("0", 64)); err == nil {
		t.Errorf("cosign took a root with another hash:\n%s", out)
	}
	out, err := initialize(sum)
	if err != nil {
		t.Fatalf("cosign initialize: %v\n%s", err, out)
	}
	want, err := w.i.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	err = filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
		if b, readErr := os.ReadFile(path); readErr == nil {
			found = found || string(b) == string(want)
		}
		return err
	})
	if err != nil || !found {
		t.Errorf("cosign has not taken the trusted root (%v):\n%s", err, out)
	}
}
