package server

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/repo"
)

// asking configures a gate of a zone that asks for approvals.
func asking(t *testing.T, zone, rule string) func(*Options) {
	path := filepath.Join(t.TempDir(), zone+".yaml")
	text := "apiVersion: bonded.dev/v1\nkind: Gate\nname: " + zone + "\naccepts: [image, index]\nenter:\n  - rule: approved\n    kinds: [image, index]\n    approvals: " + rule + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Config.Gates = map[string]config.Path{zone: config.Path(path)} }
}

// say sends what somebody says about a placement.
func (w *world) say(who api.Enrolled, what, ref, more string, status int) string {
	w.Helper()
	res, body := w.request(who, http.MethodPost, "/api/v1/"+what, fmt.Appendf(nil, `{"reference":%q%s}`, ref, more), "Content-Type", "application/json")
	w.want(status, res, body)
	return string(body)
}

// TestApprovals: what a gate leaves to people waits for as many as it asks, and
// for nobody who pushed it; held, it goes nowhere.
func TestApprovals(t *testing.T) {
	w := newWorld(t, asking(t, "staging", "{count: 2, notTheOneWhoPushed: true}"))
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	ann, sue, sid := w.enrol("ann", "developer", "security"), w.enrol("sue", "security"), w.enrol("sid", "security")
	image := w.pushImage(ann, "dev/app", "1", layerOf(t, map[string][]byte{"etc/motd": []byte("hello")}))
	w.settled("dev/app", image.Digest, repo.Admitted)
	outcome := func(want api.Outcome) {
		t.Helper()
		if p := w.promote(ann, "dev/app:1", "staging", http.StatusOK); p.Decision.Outcome != want {
			t.Fatalf("%+v", p.Decision)
		}
	}
	outcome(api.CannotTell)
	w.say(ann, "approve", "dev/app:1", `,"to":"staging"`, http.StatusOK)
	w.say(sue, "approve", "dev/app:1", `,"to":"staging","reason":"it is tested"`, http.StatusOK)
	outcome(api.CannotTell)
	w.say(sid, "approve", "dev/app:1", `,"to":"production"`, http.StatusBadRequest) // no way leads there
	w.say(sid, "approve", "dev/app:1", `,"to":"staging"`, http.StatusOK)
	w.say(sue, "stop", "dev/app:1", `,"reason":"it is slow"`, http.StatusOK)
	if body := w.say(ann, "promote", "dev/app:1", `,"to":"staging"`, http.StatusConflict); !strings.Contains(body, "stopped by sue: it is slow") {
		t.Error(body)
	}
	w.say(sid, "stop", "dev/app:1", `,"resume":true`, http.StatusOK)
	outcome(api.Allow)
	at := w.settled("staging/app", image.Digest, repo.Admitted)
	if d, err := w.db.DecisionOf(t.Context(), at.Decision); err != nil || len(d.Inputs.Approvals) != 3 {
		t.Errorf("%+v, %v", d, err)
	}

	w.same("staging/app:1", time.Time{})

	// What was pushed to the zone itself waits there.
	late := w.pushImage(ann, "staging/other", "1", layerOf(t, map[string][]byte{"etc/motd": []byte("late")}))
	w.settled("staging/other", late.Digest, repo.Held)
	ref := "staging/other@" + late.Digest.String()
	w.say(sue, "approve", ref, "", http.StatusOK)
	w.say(sid, "approve", ref, "", http.StatusOK)
	w.settled("staging/other", late.Digest, repo.Admitted)
	w.clean()
}
