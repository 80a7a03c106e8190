package sigstore

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/test/drive"
)

// programTime bounds one run of a program.
const programTime = 90 * time.Second

// who signs. A person whose account is an e-mail address is known by that.
const (
	ann   = "ann@example.com"
	build = "build.example"
)

// world is a server and somebody who has cosign and bonded.
type world struct {
	*testing.T
	server *drive.Server
	ann    *drive.User
	home   string   // where programs run
	env    []string // of the programs
	stdin  string   // of the next ones
	image  drive.Image
	// signs is what cosign is given beside, by bonded trust env.
	signs environment
}

// environment is what bonded trust env says.
type environment struct {
	Env      map[string]string `json:"env"`
	Issuer   string            `json:"issuer"`
	Identity string            `json:"identity"`
	Cosign   string            `json:"cosign_initialize"`
}

// newWorld starts a server, and logs ann in as people do.
func newWorld(t *testing.T, config string) *world {
	t.Helper()
	testparts.Program(t, "cosign")
	w := &world{T: t, home: t.TempDir(), server: drive.Start(t, drive.Options{Config: config})}
	w.ann = w.server.Enrol(ann, "developer")
	w.image = drive.NewImage(drive.MustGzip(drive.MustLayer(map[string][]byte{"etc/motd": []byte(t.Name())})))
	w.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.home, "COSIGN_PASSWORD=", "NO_COLOR=1", "TMPDIR=" + w.home}
	w.write("ca.crt", w.server.CA())
	w.login()
	return w
}

// login logs ann in at the address that the server has now.
func (w *world) login() {
	w.Helper()
	w.stdin = w.ann.Secret
	w.run(w.server.Binary, "login", w.server.URL(), "--name", ann, "--secret-stdin", "--ca", w.at("ca.crt"))
	w.stdin = ""
	w.signIn()
}

// signIn gets a fresh environment for cosign.
func (w *world) signIn(args ...string) {
	w.Helper()
	out := w.run(w.server.Binary, append([]string{"trust", "env", "-o", "json"}, args...)...)
	w.signs = environment{}
	if err := json.Unmarshal([]byte(out), &w.signs); err != nil {
		w.Fatalf("bonded trust env says %s: %v", out, err)
	}
}

func (w *world) at(name string) string { return filepath.Join(w.home, name) }

func (w *world) write(name, content string) {
	w.Helper()
	if err := os.WriteFile(w.at(name), []byte(content), 0o600); err != nil {
		w.Fatal(err)
	}
}

func (w *world) read(name string) string {
	w.Helper()
	b, err := os.ReadFile(w.at(name))
	if err != nil {
		w.Fatal(err)
	}
	return string(b)
}

// host is the registry's, with its port.
func (w *world) host() string { return strings.TrimPrefix(w.server.URL(), "https://") }

// push pushes an image that no advisories judge: it is held.
func (w *world) push(repository string) (ref string) {
	w.Helper()
	if err := w.ann.Push(w.Context(), repository, "1", w.image); err != nil {
		w.Fatal(err)
	}
	return w.host() + "/" + repository + "@" + w.image.Digest.String()
}

// run runs a program that must succeed.
func (w *world) run(name string, args ...string) string {
	w.Helper()
	out, err := w.try(nil, name, args...)
	if err != nil {
		w.Fatalf("%s %s: %v\n%s\nthe server said:\n%s", filepath.Base(name), strings.Join(args, " "), err, out, w.server.Said())
	}
	return out
}

// cosign runs cosign as it is told to by bonded trust env.
func (w *world) cosign(args ...string) string {
	w.Helper()
	out, err := w.tryCosign(args...)
	if err != nil {
		w.Fatalf("cosign %s: %v\n%s\nthe server said:\n%s", strings.Join(args, " "), err, out, w.server.Said())
	}
	return out
}

func (w *world) tryCosign(args ...string) (string, error) {
	var env []string
	for name, value := range w.signs.Env {
		env = append(env, name+"="+value)
	}
	return w.try(env, "cosign", args...)
}

// refused runs cosign, which must fail and say why.
func (w *world) refused(says string, args ...string) {
	w.Helper()
	out, err := w.tryCosign(args...)
	if exit := new(exec.ExitError); !errors.As(err, &exit) {
		w.Errorf("cosign %s: %v, want it to be refused with %q\n%s", strings.Join(args, " "), err, says, out)
	}
	w.has(out, says)
}

func (w *world) try(env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.Context()), programTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = w.home, append(w.env[:len(w.env):len(w.env)], env...)
	cmd.Stdin = strings.NewReader(w.stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w *world) has(said, part string) {
	w.Helper()
	if !strings.Contains(said, part) {
		w.Errorf("%q is not in what it said:\n%s", part, said)
	}
}

// as are the flags by which cosign is told who must have signed.
func (w *world) as(identity string) []string {
	return []string{"--certificate-identity", identity, "--certificate-oidc-issuer", w.signs.Issuer}
}

// get asks the server as ann does.
func (w *world) get(path string) []byte {
	w.Helper()
	a, err := w.ann.Do(w.Context(), http.MethodGet, path, nil)
	if err == nil {
		err = a.Err(http.StatusOK)
	}
	if err != nil {
		w.Fatal(err)
	}
	return a.Body
}

// join appends lists of arguments.
func join(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
