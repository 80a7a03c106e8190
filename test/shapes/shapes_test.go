package shapes

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/test/drive"
)

// way is what the steps know of the server and of each other.
type way struct {
	*testing.T
	server                *drive.Server
	ann, ops              *drive.User // who pushes, and who only pulls
	config                string      // folder of ann's bonded
	held, good, bad, next drive.Image
}

// steps are taken in order on each shape.
var steps = []drive.Step[*way]{
	{Name: "login", Do: (*way).login},
	{Name: "held", Do: (*way).hold},
	{Name: "admitted", Do: (*way).admit},
	{Name: "denied", Do: (*way).deny},
	{Name: "promoted", Do: (*way).promote},
	{Name: "custody", Do: (*way).custody},
	{Name: "stopped in an upload", Do: (*way).stop},
	{Name: "killed in an upload", Do: (*way).kill},
	{Name: "evidence", Do: (*way).attest},
	{Name: "deleted", Do: (*way).remove},
	{Name: "audit", Do: (*way).audit},
	{Name: "fsck", Do: (*way).fsck},
}

func TestShapes(t *testing.T) {
	for _, shape := range drive.Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			w := &way{T: t, config: t.TempDir()}
			w.server = drive.Start(t, drive.Options{Config: drive.Advisories(t, "../..") + shape.Config(t)})
			w.ops = w.server.Enrol("ops", "reader")
			w.held, w.good, w.next = image("held"), image("good"), image("next")
			// An unpacker could stop at the gzip stream's end, or not.
			w.bad = drive.NewImage(append(drive.MustGzip(drive.MustLayer(map[string][]byte{"a": []byte("bad")})), "more"...))
			drive.Walk(&w.T, w.server, w, steps)
		})
	}
}

func image(content string) drive.Image {
	return drive.NewImage(drive.MustGzip(drive.MustLayer(map[string][]byte{"etc/motd": []byte(content)})))
}

// must fails the step unless err is nil.
func (w *way) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// refused fails the step unless err is an answer with the status that says a
// part.
func (w *way) refused(err error, status int, says string) {
	w.Helper()
	if drive.Status(err) != status || !strings.Contains(err.Error(), says) {
		w.Errorf("got %v, want %d with %q", err, status, says)
	}
}

// bonded runs the command as ann, and wants an exit code.
func (w *way) bonded(code int, args ...string) string {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), w.server.Binary, args...)
	cmd.Env = append(os.Environ(), "BONDED_CONFIG_DIR="+filepath.Join(w.config, "bonded"), "DOCKER_CONFIG="+w.config, "NO_COLOR=1", "BONDED_URL=", "BONDED_TOKEN=")
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		w.Fatalf("bonded %s: exit code %d (%v), want %d\n%s", strings.Join(args, " "), got, err, code, out)
	}
	return string(out)
}

// login enrols ann with bonded login, once with the CA's fingerprint.
func (w *way) login() {
	ca := filepath.Join(w.config, "ca.crt")
	w.must(os.WriteFile(ca, []byte(w.server.CA()), 0o600))
	w.bonded(0, "login", w.server.URL(), "--code", w.server.Invite("ann", "developer"), "--ca", ca)
	if out := w.bonded(0, "whoami"); !strings.Contains(out, "ann") {
		w.Errorf("whoami says:\n%s", out)
	}
	w.ann = w.server.Enrol("bob", "developer")
	if !strings.HasPrefix(w.server.URL(), "https://") {
		w.Errorf("the server answers at %s", w.server.URL())
	}
	plain := strings.Replace(w.server.URL(), "https://", "http://", 1)
	if a, err := w.ann.Do(w.Context(), http.MethodGet, plain+"/v2/", nil); err == nil && a.Status == http.StatusOK {
		w.Error("it answers plain HTTP")
	}
}

// hold: without advisories nobody can tell, and nobody else can pull.
func (w *way) hold() {
	ctx := w.Context()
	w.must(w.ann.Push(ctx, "dev/app", "1", w.held))
	if _, err := w.ann.Judged(ctx, "dev/app:1", "held"); err != nil {
		w.Fatal(err)
	}
	w.bonded(3, "why", "dev/app:1", "--server", w.host())
	for _, name := range []string{"1", w.held.Digest.String()} {
		w.refused(w.ops.Pull(ctx, "dev/app", name, w.held), http.StatusNotFound, "")
	}
	w.must(w.ann.Pull(ctx, "dev/app", "1", w.held))
}

func (w *way) host() string {
	_, host, _ := strings.Cut(w.server.URL(), "//")
	return host
}

// admit: advisories arrive, and what was held is judged again.
func (w *way) admit() {
	ctx := w.Context()
	w.server.UpdateFeeds()
	_, err := w.ann.Judged(ctx, "dev/app:1", "admitted")
	w.must(err)
	w.must(w.ops.Pull(ctx, "dev/app", "1", w.held))
	w.must(w.ann.Push(ctx, "dev/app", "good", w.good))
	_, err = w.ann.Judged(ctx, "dev/app:good", "admitted")
	w.must(err)
}

func (w *way) deny() {
	ctx := w.Context()
	w.must(w.ann.Push(ctx, "dev/app", "bad", w.bad))
	_, err := w.ann.Judged(ctx, "dev/app:bad", "denied")
	w.must(err)
	for _, name := range []string{"bad", w.bad.Digest.String()} {
		w.refused(w.ops.Pull(ctx, "dev/app", name, w.bad), http.StatusForbidden, "unambiguous")
	}
	p, err := w.ann.Promote(ctx, "dev/app@"+w.bad.Digest.String(), "staging")
	if err == nil && p.Decision.Outcome != api.Deny {
		w.Errorf("staging lets in what dev denies: %+v", p.Decision)
	}
}

func (w *way) promote() {
	ctx := w.Context()
	w.refused(w.ops.Pull(ctx, "staging/app", "good", w.good), http.StatusNotFound, "")
	p, err := w.server.Admin.Promote(ctx, "dev/app:good", "staging")
	w.must(err)
	if p.Decision.Outcome != api.Allow || p.Digest != w.good.Digest.String() {
		w.Fatalf("staging says %+v", p.Decision)
	}
	w.must(w.ops.Pull(ctx, "staging/app", "good", w.good))
	w.must(w.ops.Pull(ctx, "staging/app", w.good.Digest.String(), w.good))
}

// stop and kill: an upload goes on where it was.
func (w *way) stop() { w.restart("stopped", w.server.Stop) }
func (w *way) kill() { w.restart("killed", w.server.Kill) }

const (
	uploadSize = 6 << 20 // more than the least part that S3 can compose
	chunkSize  = 1 << 20
)

func (w *way) restart(tag string, end func()) {
	ctx := w.Context()
	content := make([]byte, uploadSize)
	_, err := rand.NewChaCha8([32]byte([]byte(strings.Repeat(tag, 32))[:32])).Read(content)
	w.must(err)
	big := drive.NewImage(drive.MustLayer(map[string][]byte{"big": content}))
	layer := big.Layers[0]
	up, err := w.ann.Begin(ctx, "dev/app")
	w.must(err)
	for up.Sent < uploadSize/2 {
		w.must(w.ann.Send(ctx, up, layer[up.Sent:up.Sent+chunkSize]))
	}
	sent := up.Sent
	end()
	w.server.Again()
	w.must(w.ann.Resume(ctx, up))
	if up.Sent != sent {
		w.Errorf("after the restart the upload has %d bytes, %d were acknowledged", up.Sent, sent)
	}
	w.must(w.ann.Send(ctx, up, layer[up.Sent:up.Sent+chunkSize]))
	w.must(w.ann.Finish(ctx, up, layer[up.Sent:], oci.FromBytes(layer)))
	w.must(w.ann.PushBlob(ctx, "dev/app", big.Config))
	w.must(w.ann.PushManifest(ctx, "dev/app", tag, big.MediaType, big.Manifest))
	_, err = w.ann.Judged(ctx, "dev/app:"+tag, "admitted")
	w.must(err)
	w.must(w.ops.Pull(ctx, "dev/app", tag, big))
	w.must(w.ops.Pull(ctx, "staging/app", "good", w.good))
	w.refused(w.ops.Pull(ctx, "dev/app", "bad", w.bad), http.StatusForbidden, "unambiguous")
}

// attest: a referrer goes along with a promotion.
func (w *way) attest() {
	ctx := w.Context()
	note := drive.NewEvidence(w.held.Descriptor, "application/vnd.test.note", []byte("all is well"))
	w.must(w.ann.Push(ctx, "dev/app", "", note))
	p, err := w.server.Admin.Promote(ctx, "dev/app:1", "staging")
	w.must(err)
	if len(p.Closure) != 2 {
		w.Errorf("with its note goes %v", p.Closure)
	}
	a, err := w.ops.Do(ctx, http.MethodGet, "/v2/staging/app/referrers/"+w.held.Digest.String(), nil)
	w.must(err)
	if !bytes.Contains(a.Body, []byte(note.Digest.String())) {
		w.Errorf("referrers in staging: %s", a.Body)
	}
}

// custody: the story of what was promoted, and of what was denied, verifies
// without the server, by the root that it told.
func (w *way) custody() {
	root := filepath.Join(w.config, "trusted_root.json")
	w.must(os.WriteFile(root, []byte(w.bonded(0, "trust", "root")), 0o600))
	eve := w.server.Enrol("eve", "auditor")
	for name, of := range map[string]oci.Digest{"staging/app:good": w.good.Digest, "dev/app@" + w.bad.Digest.String(): w.bad.Digest} {
		body, err := json.Marshal(api.CustodyRequest{Ref: name})
		w.must(err)
		a, err := eve.Do(w.Context(), http.MethodPost, "/api/v1/custody/export", body, "Content-Type", "application/json")
		w.must(err)
		w.must(a.Err(http.StatusOK))
		file := filepath.Join(w.config, of.Hex()[:8]+".custody.json")
		w.must(os.WriteFile(file, a.Body, 0o600))
		out := w.bonded(0, "custody", "verify", file, "--trusted-root", root, "--digest", of.String())
		if !strings.Contains(out, "decision") {
			w.Errorf("of %s is verified:\n%s", name, out)
		}
	}
}

func (w *way) remove() {
	ctx := w.Context()
	w.must(w.ann.Push(ctx, "dev/app", "next", w.next))
	_, err := w.ann.Judged(ctx, "dev/app:next", "admitted")
	w.must(err)
	a, err := w.server.Admin.Do(ctx, http.MethodDelete, "/v2/dev/app/manifests/"+w.next.Digest.String(), nil)
	w.must(err)
	w.must(a.Err(http.StatusAccepted))
	w.refused(w.ops.Pull(ctx, "dev/app", "next", w.next), http.StatusNotFound, "")
}

// audit: the chain holds, and says what was done.
func (w *way) audit() {
	check := &api.AuditCheck{}
	w.must(w.server.Admin.API(w.Context(), http.MethodPost, "/audit/verify", nil, check))
	if check.Entries == 0 || !check.OK {
		w.Errorf("the audit log: %+v", check)
	}
}

// fsck: what is stored is whole, and a second start finds it.
func (w *way) fsck() {
	w.server.Stop()
	w.server.Fsck()
	w.server.Again()
	w.must(w.ops.Pull(context.Background(), "staging/app", "good", w.good))
}

// TestOneServerPerFolder: a second server on the folder of a running one is
// refused, whatever the shape.
func TestOneServerPerFolder(t *testing.T) {
	s := drive.Start(t, drive.Options{Binary: testparts.Binary(t)})
	out, err := s.Command("serve")
	if err == nil || !strings.Contains(out, "in use") {
		t.Errorf("a second server: %v\n%s", err, out)
	}
}
