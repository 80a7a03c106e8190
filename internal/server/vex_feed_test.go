package server

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
)

// byVendor is a gate that lets in what has no critical fault, and believes the
// feed "vendor" about those.
var byVendor = strings.Replace(believing, "signedBy: {anchor: keys}", "feed: vendor", 1)

// vendored is a server with a feed of VEX documents, which is the folder.
func vendored(t *testing.T) (s *proving, dir string) {
	t.Helper()
	dir = t.TempDir()
	s = &proving{files: t.TempDir()}
	s.write("gate.yaml", []byte(signedGate+byVendor))
	never := config.Duration(0)
	s.world = newWorld(t, func(o *Options) {
		o.Config.Gates = map[string]config.Path{"signed": config.Path(s.at("gate.yaml"))}
		o.Config.Zones = []config.Zone{{Name: "signed"}}
		o.Config.Feeds[0].Ecosystems = []string{"Debian", "PyPI"}
		o.Config.Feeds = append(o.Config.Feeds, config.Feed{Name: "vendor", Format: "vex", Dir: config.Path(dir), Interval: &never})
	})
	s.dev = s.enrol("ann", "developer", "developer=signed/**")
	return s, dir
}

// offers writes a document into a folder.
func offers(t *testing.T, dir, name, document string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
}

// taken loads all feeds and waits for what comes of it.
func (s *proving) taken() {
	s.Helper()
	s.load()
	s.idleOf(assess.JobAdvisories, assess.JobJudge)
}

// under is the snapshot that the decision about a placement was last confirmed
// under.
func (s *proving) under(d oci.Digest) (seq int64) {
	s.Helper()
	p, err := s.db.PlacementOf(s.Context(), oci.MustRepository("signed/app"), d)
	if err != nil {
		s.Fatal(err)
	}
	err = s.db.View(s.Context(), func(tx *db.Tx) error {
		rec, err := tx.Decision(s.Context(), p.Decision)
		if err == nil {
			seq = rec.Snapshot
		}
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	return seq
}

// TestVEXFeed: what a feed says flips the decisions about what it speaks of, and
// has nothing else judged again; what it says no more, and what a revoked feed
// says, counts no more.
func TestVEXFeed(t *testing.T) {
	s, dir := vendored(t)
	s.tell("CVE-2026-7", affected("PyPI", "x", "2.0"))
	s.tell("CVE-2026-8", affected("PyPI", "y", "2.0"))
	s.load()
	x := s.pushImage(s.dev, "signed/app", "x", debianLayer(t, nil, []string{"x 1.0"}))
	y := s.pushImage(s.dev, "signed/app", "y", debianLayer(t, nil, []string{"y 1.0"}))
	s.wants(api.Deny, "signed/app:x", "before anybody said anything")
	s.wants(api.Deny, "signed/app:y", "before anybody said anything")
	before := s.under(y.Digest)

	for i := range 20 { // so that one that goes is not a tenth
		offers(t, dir, fmt.Sprintf("other/%d.json", i), strings.Replace(openVEX(1, "not_affected", unreached), "2026-7", fmt.Sprint("2026-1", i), 1))
	}
	offers(t, dir, "x/1.json", openVEX(1, "not_affected", unreached))
	s.taken()
	d := s.wants(api.Allow, "signed/app:x", "the feed says so")
	if last := d.Reasons[len(d.Reasons)-1]; len(last.Assessed) != 1 || last.Assessed[0].By != "feed vendor" || len(d.Inputs.VEX) != 1 || d.Inputs.VEX[0] != oci.FromBytes([]byte(openVEX(1, "not_affected", unreached))).String() {
		t.Errorf("allowed with %+v, by %v", last, d.Inputs.VEX)
	}
	if f := s.findingsOf(s.dev, "signed/app:x"); len(f.Suppressed) != 1 || f.Suppressed[0].VEX.By != "feed vendor" {
		t.Errorf("findings are %+v", f)
	}
	if now := s.under(y.Digest); now != before {
		t.Errorf("what nobody spoke of was judged again under snapshot %d, before %d", now, before)
	}
	decided := s.under(x.Digest)
	s.taken() // nothing new
	if now := s.under(x.Digest); now != decided {
		t.Errorf("judged again for nothing under snapshot %d, before %d", now, decided)
	}

	offers(t, dir, "x/2.json", openVEX(2, "affected", ""))
	s.taken()
	s.wants(api.Deny, "signed/app:x", "the feed says otherwise")
	if err := os.Remove(filepath.Join(dir, "x/2.json")); err != nil {
		t.Fatal(err)
	}
	s.taken()
	s.wants(api.Allow, "signed/app:x", "the feed says it no more")

	res, body := s.request(s.admin, http.MethodGet, "/api/v1/feeds", nil)
	s.want(http.StatusOK, res, body)
	if !strings.Contains(string(body), `"name":"vendor"`) || !strings.Contains(string(body), `"format":"vex"`) {
		t.Errorf("feeds are %s", body)
	}
	revoked := s.revoke(s.admin, api.RevokeRequest{Kind: "feed", Feed: "vendor", Reason: "somebody else writes it"})
	s.idleOf(jobRevoke, assess.JobAdvisories, assess.JobGate, assess.JobJudge)
	if d := s.outcome("signed/app:x"); d.Outcome == api.Allow {
		t.Errorf("allowed by the word of a feed that is revoked: %+v", d)
	}
	s.lift(s.admin, revoked.Revocation.ID)
	s.idleOf(jobRevoke, assess.JobAdvisories, assess.JobGate, assess.JobJudge)
	s.wants(api.Allow, "signed/app:x", "its revocation was lifted")

	if err := os.RemoveAll(filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	s.taken()
	s.wants(api.Allow, "signed/app:x", "the feed lost much, and is held back")
	for _, f := range s.feedsOf() {
		if f.Name == "vendor" && (!f.Held || f.Records != 21) {
			t.Errorf("after it lost much it is %+v", f)
		}
	}
	s.clean()
}

// TestGateOfAbsentFeed: a gate that takes the word of a feed that is not there is
// not put in force.
func TestGateOfAbsentFeed(t *testing.T) {
	s, _ := vendored(t)
	for name, feeds := range map[string][]config.Feed{"none": nil, "of another format": {{Name: "vendor", Dir: "/nowhere"}}} {
		o := s.options()
		o.Config.Feeds = feeds
		o.Config.Data = config.Path(t.TempDir())
		if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), `takes the word of feed "vendor", which is not configured`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
