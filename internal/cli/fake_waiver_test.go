package cli_test

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/bonded-dev/bonded/api"
)

// waiversFake answers about waivers: number 4 needs two.
func waiversFake(handle func(string, func(*http.Request) (any, *api.Error))) {
	one := api.Waiver{
		ID: "4", State: "asked", Repositories: "production/payments/**", Rule: "no-severe-with-fix", Advisory: "CVE-2026-1", Owner: "ann", Reason: "not reached\x1b[2J",
		From: now, Until: now.Add(72 * time.Hour), AskedBy: "ann", AskedAt: now, Granted: []api.Grantor{},
		Rules: []api.WaiverRule{{Rule: "no-severe-with-fix", Needs: "security-leads, 2 of them, for at most 72h", Why: "0 of 2 who have to grant it have"}},
	}
	flip := api.WaiverFlip{Repository: "production/payments/api", Digest: badDigest, State: "denied", Clause: "enter", Before: api.Deny, After: api.Allow}
	handle("POST /api/v1/waivers", func(r *http.Request) (any, *api.Error) {
		var req api.WaiverRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			return nil, &api.Error{Code: "invalid", Message: err.Error()}
		}
		if req.Rule == "nothing" {
			return nil, &api.Error{Code: "invalid", Message: "not a valid waiver: gate production has no rule \"nothing\""}
		}
		if !req.Preview {
			return api.WaiverDone{Waiver: one, Flips: []api.WaiverFlip{}}, nil
		}
		preview := one
		preview.ID = ""
		return api.WaiverDone{Waiver: preview, Preview: true, Flips: []api.WaiverFlip{flip}, Looked: 3}, nil
	})
	handle("POST /api/v1/waivers/4/grant", func(*http.Request) (any, *api.Error) {
		granted := one
		granted.Granted = []api.Grantor{{Name: "sam", At: now}}
		return api.WaiverDone{Waiver: granted, Flips: []api.WaiverFlip{}}, nil
	})
	ended := func(how string) func(*http.Request) (any, *api.Error) {
		return func(*http.Request) (any, *api.Error) {
			w := one
			w.State, w.Ended = how, &api.WaiverEnd{How: how, By: "sam", At: now, Reason: "fixed"}
			return api.WaiverDone{Waiver: w, Flips: []api.WaiverFlip{}}, nil
		}
	}
	handle("POST /api/v1/waivers/4/deny", ended("denied"))
	handle("POST /api/v1/waivers/4/end", ended("ended"))
	handle("GET /api/v1/waivers/4", func(*http.Request) (any, *api.Error) {
		w := one
		w.Digest, w.Follow, w.Justification = badDigest, true, "vulnerable_code_not_present"
		w.Follows = []api.WaiverFollow{{Repository: "production/payments/api", Digest: goodDigest, Why: "there is a fix: 3.0.15"}}
		return w, nil
	})
	handle("GET /api/v1/waivers/9", func(*http.Request) (any, *api.Error) {
		return nil, &api.Error{Code: "not-found", Message: "waiver \"9\": not found"}
	})
	handle("GET /api/v1/waivers", func(r *http.Request) (any, *api.Error) {
		if r.URL.Query().Get("after") != "" {
			return api.Page[api.Waiver]{Items: []api.Waiver{}}, nil
		}
		granted := one
		granted.ID, granted.State, granted.Granted = "3", "granted", []api.Grantor{{Name: "sam", At: now}, {Name: "sue", At: now}}
		return api.Page[api.Waiver]{Items: []api.Waiver{one, granted}, Next: "3"}, nil
	})
	handle("GET /api/v1/waivers/export", func(*http.Request) (any, *api.Error) {
		return map[string]string{"@context": "https://openvex.dev/ns/v0.2.0"}, nil
	})
}
