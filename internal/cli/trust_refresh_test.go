package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/tuf"
)

// instance is another Sigstore instance that publishes what it is trusted by.
type instance struct {
	store memory
	repo  *tuf.Repository
	files map[string][]byte
	off   *trust.Offline
}

func newInstance(t *testing.T, clock func() time.Time) *instance {
	t.Helper()
	i := &instance{store: memory{}}
	o := trust.Options{Dir: filepath.Join(t.TempDir(), "trust"), Origin: "other.example", URL: "https://other.example", Clock: clock, Log: slog.New(slog.DiscardHandler)}
	_, err := trust.Init(t.Context(), o, trust.InitOptions{Prepare: func(_ context.Context, _ string, in *trust.Instance, off *trust.Offline) (err error) {
		i.repo, i.off = tuf.New(tuf.Options{Store: i.store, Keys: in, Clock: clock, Log: o.Log}), off
		if i.files, err = tuf.Documents(in); err != nil {
			return err
		}
		return i.repo.Publish(context.Background(), tuf.Update{Files: i.files, Offline: off})
	}})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// publish publishes another trusted root.
func (i *instance) publish(t *testing.T, doc []byte) {
	t.Helper()
	i.files[trust.TrustedRootName] = doc
	if err := i.repo.Publish(t.Context(), tuf.Update{Files: i.files, Offline: i.off}); err != nil {
		t.Fatal(err)
	}
}

// refreshing runs bonded trust refresh against what now serves.
type refreshing struct {
	*testing.T
	now       http.Handler
	url       string
	dir, file string
	seen      string // folder with what was seen before
}

func newRefreshing(t *testing.T) *refreshing {
	r := &refreshing{T: t, dir: t.TempDir(), seen: t.TempDir()}
	r.file = filepath.Join(r.dir, "root.json")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { r.now.ServeHTTP(w, q) }))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

func (r *refreshing) run(args ...string) (code int, said string) {
	var out bytes.Buffer
	env := cli.Env{Vars: []string{"BONDED_CONFIG_DIR=" + r.seen, "HOME=" + r.seen}, Clock: time.Now, After: time.After}
	code = cli.Run(r.Context(), env, cli.Stdio{Out: &out, Err: &out}, append([]string{"trust", "refresh", r.file}, args...))
	return code, out.String()
}

// stays: it is refused, and the file is as it was.
func (r *refreshing) stays(what, says string, args ...string) {
	r.Helper()
	before, _ := os.ReadFile(r.file)
	code, said := r.run(args...)
	after, _ := os.ReadFile(r.file)
	if code != 4 || !strings.Contains(said, says) || !strings.Contains(said, "nothing was changed") {
		r.Errorf("%s: %d %s, want it to say %q", what, code, said, says)
	}
	if !bytes.Equal(before, after) {
		r.Errorf("%s: the file is another one", what)
	}
}

func TestTrustRefresh(t *testing.T) {
	r, one := newRefreshing(t), newInstance(t, time.Now)
	root := filepath.Join(r.dir, "1.root.json")
	if err := os.WriteFile(root, one.store["1.root.json"], 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--mirror", r.url, "--root", root}
	r.now = one.repo
	code, said := r.run(append(args, "-o", "json")...)
	var done cli.Refreshed
	if err := json.Unmarshal([]byte(said), &done); code != 0 || err != nil || !done.Changed || done.Mirror != r.url {
		t.Fatalf("the first time: %d %s %v", code, said, err)
	}
	if b, err := os.ReadFile(r.file); err != nil || !bytes.Equal(b, one.files[trust.TrustedRootName]) {
		t.Fatalf("what was written: %v", err)
	}
	if code, said := r.run(args...); code != 0 || !strings.Contains(said, "Same as before") {
		t.Errorf("again: %d %s", code, said)
	}

	old := maps.Clone(one.store)
	one.publish(t, append(one.files[trust.TrustedRootName], '\n'))
	if code, said := r.run(args...); code != 0 || !strings.Contains(said, "Written") {
		t.Errorf("another root: %d %s", code, said)
	}
	r.now = serve(old)
	r.stays("an older state", "new timestamp version", args...)
	r.now = http.NotFoundHandler()
	r.stays("a mirror that is down, and what it had is known", "", args...)
	r.now = one.repo
	one.publish(t, []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))
	r.stays("what is no root for an anchor", "no certificate authority", args...)
}

// serve serves the files of a TUF repository.
func serve(files memory) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, ok := files[strings.TrimPrefix(q.URL.Path, "/")]
		if !ok {
			http.NotFound(w, q)
			return
		}
		_, _ = w.Write(b)
	})
}

func TestTrustRefreshRefuses(t *testing.T) {
	r, one := newRefreshing(t), newInstance(t, time.Now)
	root := filepath.Join(r.dir, "1.root.json")
	if err := os.WriteFile(root, one.store["1.root.json"], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.file, []byte("as it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--mirror", r.url, "--root", root}
	changed := func(in string, change func([]byte) []byte) http.Handler {
		files := maps.Clone(one.store)
		for name, b := range files {
			if strings.Contains(name, in) {
				files[name] = change(bytes.Clone(b))
			}
		}
		return serve(files)
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for _, c := range []struct {
		what, says string
		now        http.Handler
		args       []string
	}{
		{"by the root of the public instance", "", one.repo, []string{"--mirror", r.url}},
		{"another instance in its place", "", newInstance(t, time.Now).repo, args},
		{"a mirror that is down", "", http.NotFoundHandler(), args},
		{"a target that was changed", "", changed("trusted_root.json", flip), args},
		{"a target that is cut off", "", changed("trusted_root.json", func(b []byte) []byte { return b[:len(b)-1] }), args},
		{"targets that were changed", "", changed("targets.json", flip), args},
		{"metadata without an end", "", changed("timestamp.json", func([]byte) []byte { return bytes.Repeat([]byte(" "), 64<<20) }), args},
	} {
		r.now, r.seen = c.now, t.TempDir()
		r.stays(c.what, c.says, c.args...)
	}
	ended := newInstance(t, func() time.Time { return time.Now().AddDate(-3, 0, 0) })
	if err := os.WriteFile(root, ended.store["1.root.json"], 0o600); err != nil {
		t.Fatal(err)
	}
	r.now = ended.repo
	r.stays("metadata that ended", "expired", args...)
	for _, bad := range [][]string{{"--instance", "github"}, {"--instance", "staging"}, {"--mirror", "http://tuf.example"}, {"--mirror", "file:///tmp"}} {
		if code, said := r.run(bad...); code != 2 {
			t.Errorf("%v: %d %s", bad, code, said)
		}
	}
}
