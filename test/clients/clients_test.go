package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/test/drive"
)

// clientTime bounds one run of a client.
const clientTime = 90 * time.Second

// registry is a development server as one client sees it.
type registry struct {
	*testing.T
	server  testparts.Server
	bonded  string
	host    string // host:port
	home    string // the client's own folder
	layout  string // an OCI layout with one image, tagged demo
	digest  string // of that image
	rootTar string // a tar of a root file system
	env     []string
}

const login = "administrator"

// zones are where each client does its steps. Names are the first segment of
// repositories.
var zones = []struct {
	name  string
	gated bool // needs a login, and judges
}{
	{name: "dev", gated: true},
	{name: "sandbox"},
}

// clients are the programs under test. steps pushes what it pushes below
// repository and returns a reference that is to be allowed where it is judged;
// pull takes that back.
var clients = []struct {
	program string
	steps   func(r *registry, repository string) (pushed string)
	pull    func(r *registry, ref string)
}{
	{program: "crane", steps: crane, pull: func(r *registry, ref string) {
		r.run("crane", "pull", "--insecure", ref, filepath.Join(r.TempDir(), "pulled.tar"))
		r.run("crane", "validate", "--insecure", "--remote", ref)
	}},
	{program: "skopeo", steps: skopeo, pull: func(r *registry, ref string) {
		r.run("skopeo", "copy", "--src-tls-verify=false", "docker://"+ref, "oci:"+r.TempDir()+":back")
	}},
	{program: "podman", steps: podman, pull: func(r *registry, ref string) {
		r.run("podman", "pull", "--quiet", "--tls-verify=false", ref)
		r.Cleanup(func() { r.run("podman", "rmi", "--force", ref) })
	}},
	{program: "buildah", steps: buildah, pull: func(r *registry, ref string) {
		r.run("buildah", "pull", "--quiet", "--tls-verify=false", ref)
		r.Cleanup(func() { r.run("buildah", "rmi", "--force", ref) })
	}},
	{program: "docker", steps: docker, pull: func(r *registry, ref string) {
		r.run("docker", "pull", "--quiet", ref)
		r.Cleanup(func() { r.run("docker", "rmi", "--force", ref) })
	}},
	{program: "oras", steps: oras, pull: func(r *registry, ref string) {
		r.run("oras", "copy", "--from-plain-http", "--to-oci-layout", ref, r.TempDir()+":back")
		out := r.run("oras", "discover", "--plain-http", ref)
		r.has(out, "application/vnd.test.note")
	}},
	{program: "helm", steps: helm, pull: func(r *registry, ref string) {
		repository, version, _ := strings.Cut(ref[len(r.host):], ":")
		dir := r.TempDir()
		r.run("helm", "pull", "--plain-http", "oci://"+r.host+repository, "--version", version, "--destination", dir)
		if _, err := os.Stat(filepath.Join(dir, "shop-"+version+".tgz")); err != nil {
			r.Errorf("helm says it pulled a chart: %v", err)
		}
	}},
	{program: "cosign", steps: cosign, pull: func(r *registry, ref string) {
		r.run("cosign", "verify", "--key", "cosign.pub", "--insecure-ignore-tlog", "--allow-http-registry", ref)
		r.has(r.run("cosign", "tree", "--allow-http-registry", ref), "via OCI referrer")
	}},
}

func TestClients(t *testing.T) {
	for _, c := range clients {
		t.Run(c.program, func(t *testing.T) {
			testparts.Program(t, c.program)
			r := newRegistry(t)
			for _, z := range zones {
				t.Run(z.name, func(t *testing.T) {
					at := *r
					at.T = t
					at.write("config.json", "{}") // nobody's login
					if z.gated {
						at.signIn(c.program)
					}
					ref := c.steps(&at, at.host+"/"+z.name)
					if z.gated {
						at.judged(ref)
					}
					c.pull(&at, ref)
				})
			}
		})
	}
}

// newRegistry starts a server with advisories, and a home for a client.
func newRegistry(t *testing.T) *registry {
	t.Helper()
	root := drive.MustLayer(map[string][]byte{"etc/motd": []byte("hello, " + t.Name())})
	image := drive.NewImage(drive.MustGzip(root)) // as most clients expect layers to be
	r := &registry{T: t, bonded: testparts.Binary(t), home: t.TempDir(), layout: t.TempDir(), digest: image.Digest.String()}
	feed, err := filepath.Abs("../../testdata/osv")
	if err != nil {
		t.Fatal(err)
	}
	r.server = testparts.Dev(t, "--feed", feed)
	r.host = strings.TrimPrefix(r.server.URL, "http://")
	r.env = append(os.Environ(),
		"HOME="+r.home, "DOCKER_CONFIG="+r.home, "REGISTRY_AUTH_FILE="+filepath.Join(r.home, "config.json"), "XDG_RUNTIME_DIR="+r.home,
		"HELM_REGISTRY_CONFIG="+filepath.Join(r.home, "config.json"), "COSIGN_PASSWORD=", "NO_COLOR=1",
		"BONDED_URL="+r.server.URL, "BONDED_TOKEN="+login+":"+r.server.Token)
	r.run(r.bonded, "feed", "update")
	if err := image.WriteLayout(r.layout, "demo"); err != nil {
		t.Fatal(err)
	}
	r.rootTar = filepath.Join(r.home, "root.tar")
	r.write("root.tar", string(root))
	return r
}

// write writes a file into the client's home, which is where it runs.
func (r *registry) write(name, content string) {
	r.Helper()
	path := filepath.Join(r.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		r.Fatal(err)
	}
}

// run runs a program that must succeed, and returns what it said.
func (r *registry) run(name string, args ...string) string {
	r.Helper()
	out, err := r.try(name, args...)
	if err != nil {
		r.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}

func (r *registry) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), clientTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = r.home, r.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// has fails the test unless what a program said has a part.
func (r *registry) has(said, part string) {
	r.Helper()
	if !strings.Contains(said, part) {
		r.Errorf("%q is not in what it said:\n%s", part, said)
	}
}

// signIn logs a client in the way it does that.
func (r *registry) signIn(program string) {
	r.Helper()
	basic := []string{"-u", login, "-p", r.server.Token}
	switch program {
	case "crane":
		r.run("crane", append([]string{"auth", "login", r.host}, basic...)...)
	case "cosign":
		r.run("cosign", append([]string{"login", r.host}, basic...)...)
	case "oras":
		r.run("oras", append([]string{"login", "--plain-http", r.host}, basic...)...)
	case "helm":
		r.run("helm", append([]string{"registry", "login", "--plain-http", r.host}, basic...)...)
	case "docker":
		r.run("docker", append([]string{"login", r.host}, basic...)...)
	default: // skopeo and its kin
		r.run(program, append(append([]string{"login", "--tls-verify=false"}, basic...), r.host)...)
	}
}

// judged waits until a decision allows a reference.
func (r *registry) judged(ref string) {
	r.Helper()
	ref = strings.TrimPrefix(ref, r.host+"/")
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := r.try(r.bonded, "why", ref)
		if err == nil {
			r.has(out, "ALLOWED")
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			r.Fatalf("nothing allowed %s: %v\n%s", ref, err, out)
		}
	}
}

func (r *registry) named(repository string) string { return fmt.Sprintf("%s@%s", repository, r.digest) }
