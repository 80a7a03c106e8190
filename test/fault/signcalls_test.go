package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/test/drive"
)

// TestSystemCallsSign fails system calls of a running server while it signs: the
// batch of a decision and the statements that are made when somebody looks for
// them, each second time with a certificate that it issues itself first. Whatever
// fails, no proof leaves that does not verify, and what hangs is finished, by the
// server or by the next one.
func TestSystemCallsSign(t *testing.T) {
	strace := testparts.Program(t, "strace")
	ctx := context.Background()
	server := drive.Start(t, drive.Options{Config: drive.Advisories(t, "../..")})
	server.UpdateFeeds()
	p := &proofs{ann: server.Enrol("ann", "developer"), proven: map[string]*api.Proof{}, acks: make(chan struct{}, 1000)}
	injected, refused, gone := 0, 0, 0
	for i, b := range breaks(runs(t)) {
		if i%2 == 1 { // a new process has no certificate yet
			server.Kill()
			server.Again()
		}
		what := fmt.Sprintf("%s %d with %s", b.call, b.n, b.errno)
		tag := fmt.Sprint("calls-", i)
		image := drive.NewImage(drive.MustGzip(drive.MustLayer(map[string][]byte{tag: []byte(tag)})))
		if err := p.ann.Push(ctx, "dev/signed", tag, image); err != nil {
			t.Fatalf("%s: %v; the server said:\n%s", what, err, server.Said())
		}
		if _, err := p.ann.Judged(ctx, "dev/signed:"+tag, "admitted"); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		p.judged = append(p.judged, "dev/signed:"+tag)
		s := inject(t, strace, server.PID(), b)
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := p.sign(limited, tag, image.Digest)
		cancel()
		n := s.end(t)
		injected += n
		if err != nil {
			refused++
			t.Logf("%s, %d times: %v", what, n, err)
		}
		if exited(server) {
			gone++
			server.Again()
		}
		if err := p.signs(ctx, tag, image.Digest); err != nil {
			t.Fatalf("%s, %d times, and after it: %v; the server said:\n%s", what, n, err, server.Said())
		}
		p.check(ctx, t, trustedRoot(ctx, t, server))
		if t.Failed() {
			t.Fatalf("after %s, %d times; the server said:\n%s", what, n, server.Said())
		}
	}
	t.Logf("%d calls failed, %d times nothing was signed, the server gave up %d times; %d proofs left it", injected, refused, gone, len(p.proven))
	if injected == 0 {
		t.Error("no call failed")
	}
	server.Kill() // with whatever it was at
	server.Again()
	p.check(ctx, t, trustedRoot(ctx, t, server))
	server.Stop()
	server.Fsck()
}

// signs asks until all is there: a listing does not wait for what is made as long
// as the server has not signed again.
func (p *proofs) signs(ctx context.Context, tag string, d oci.Digest) error {
	end := time.After(time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.sign(ctx, tag, d)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-end:
			return err
		}
	}
}

// sign asks for the proof about an image, which it keeps, and for the statements
// about it; that something is missing is an error.
func (p *proofs) sign(ctx context.Context, tag string, d oci.Digest) error {
	ref := "dev/signed:" + tag
	w, err := p.ask(ctx, ref)
	if err != nil {
		return err
	}
	if w.Proof == nil || !w.Proof.Proven {
		return fmt.Errorf("%s is not proven: %+v", ref, w.Proof)
	}
	p.proven[ref] = w.Proof
	a, err := p.ann.Do(ctx, http.MethodGet, "/v2/dev/signed/referrers/"+d.String(), nil)
	if err == nil {
		err = a.Err(http.StatusOK)
	}
	if err != nil {
		return err
	}
	var listed struct{ Manifests []oci.Descriptor }
	if err := json.Unmarshal(a.Body, &listed); err != nil {
		return err
	}
	if len(listed.Manifests) != 3 {
		return fmt.Errorf("%s has %d statements of the server, and not a summary, an SBOM and a scan", ref, len(listed.Manifests))
	}
	return nil
}
