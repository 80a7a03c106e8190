package policy_test

import (
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
)

// TestLifecycle: a release is let in while it is maintained for as long as is asked,
// and the decision ends when that does.
func TestLifecycle(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	debian := evidence.Lifecycle{What: "os", Product: "debian", Cycle: "12", Version: "12", Ends: now.Add(1000 * time.Hour), Extended: now.Add(9000 * time.Hour)}
	golang := evidence.Lifecycle{What: "runtime", Product: "go", Cycle: "1.20", Version: "1.20.1", Ended: true}
	system := inventory.Distro{ID: "debian", VersionID: "12"}
	for name, test := range map[string]struct {
		rule   string
		distro inventory.Distro
		known  bool
		of     []evidence.Lifecycle
		want   api.Outcome
		until  time.Time
	}{
		"in time":             {"{for: 720h}", system, true, []evidence.Lifecycle{debian}, api.Allow, now.Add(280 * time.Hour)},
		"too near":            {"{for: 1000h}", system, true, []evidence.Lifecycle{debian}, api.Deny, time.Time{}},
		"extended":            {"{for: 1000h, extended: true}", system, true, []evidence.Lifecycle{debian}, api.Allow, now.Add(8000 * time.Hour)},
		"a runtime has ended": {"{}", system, true, []evidence.Lifecycle{debian, golang}, api.Deny, now.Add(1000 * time.Hour)},
		"nobody tells":        {"{}", system, true, nil, api.CannotTell, time.Time{}},
		"never loaded":        {"{}", system, false, nil, api.CannotTell, time.Time{}},
		"no system":           {"{}", inventory.Distro{}, true, nil, api.Allow, time.Time{}},
		"rolling":             {"{}", inventory.Distro{ID: "wolfi"}, true, nil, api.Allow, time.Time{}},
	} {
		g, err := policy.Parse("g.yaml", []byte("apiVersion: bonded.dev/v1\nkind: Gate\nname: g\naccepts: [image]\nunreadLayers: accept\nenter:\n  - rule: r\n    lifecycle: "+test.rule+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if !g.Lifecycles() {
			t.Error("the gate does not know that it asks")
		}
		d := oci.FromBytes([]byte("m"))
		in := &policy.Input{
			Repository: oci.MustRepository("catalog/app"), Digest: d, Zone: "catalog", Kind: oci.KindImage, Now: now, Manifest: &oci.Manifest{Digest: d},
			Image: &inventory.Image{Manifest: d, Distro: test.distro}, Lifecycle: test.of,
		}
		if test.known {
			in.Snapshot.Lifecycles = oci.FromBytes([]byte("ends"))
		}
		got, err := g.Evaluate(t.Context(), policy.Enter, in)
		if err != nil {
			t.Fatal(err)
		}
		r := got.Reasons[len(got.Reasons)-1]
		if r.Rule != "r" || r.Outcome != test.want || !got.ValidUntil.Equal(test.until) {
			t.Errorf("%s: %s until %s, want %s until %s; %+v", name, r.Outcome, got.ValidUntil, test.want, test.until, r)
		}
	}
}
