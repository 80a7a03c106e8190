package cli_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
)

// past is what was in force: nothing in February, what differs in March, what
// cannot be had in April, and the same otherwise.
func past(w api.Why, q url.Values) api.Why {
	at, err := time.Parse(time.RFC3339, q.Get("at"))
	if err != nil {
		at = now
	}
	w.Then = &api.Then{At: at, ID: 7, From: at.AddDate(0, 0, -2), Confirmed: at.AddDate(0, 0, 1), Until: at.AddDate(0, 0, 3)}
	if at.Month() == time.February {
		w.Decision, w.Then = nil, &api.Then{At: at, Until: at.AddDate(0, 1, 0)}
		return w
	}
	if !q.Has("replay") {
		return w
	}
	w.Then.Replay = &api.Replay{Same: true}
	switch at.Month() {
	case time.March:
		w.Then.Replay = &api.Replay{Differs: []string{"outcome", "rule no-critical"}, Decision: w.Decision, Engine: "bonded 1.2.3"}
	case time.April:
		w.Then.Replay = &api.Replay{Missing: []string{"the manifest " + goodDigest}}
	default:
	}
	return w
}

func (f *fakeServer) preview(handle handler) {
	handle("POST /api/v1/gates/preview", func(r *http.Request) (any, *api.Error) {
		req := body[api.PreviewRequest](f, r)
		if !strings.Contains(req.Text, "kind: Gate") {
			return nil, &api.Error{Code: "invalid", Message: "not valid: not a valid gate: gate:1:1: it is no mapping"}
		}
		lines := []api.PreviewProgress{{Judged: 3, Total: 3, Done: &api.Preview{Zone: req.Zone, Gate: goodDigest, Judged: 3, Rules: map[string]int{}}}}
		if req.Zone == "production" {
			worse := api.Flip{Repository: "production/payments/api", Digest: badDigest, Kind: "image", Before: "admitted", After: "admitted", Flagged: true, Worse: true, Sentence: "it has 2 criticals", Rules: []string{"no-critical"}}
			better := api.Flip{Repository: "production/new", Digest: goodDigest, Kind: "image", Before: "held", After: "admitted", Sentence: "allowed"}
			lines = []api.PreviewProgress{{Judged: 1, Total: 3, Flip: &worse}, {Judged: 2, Total: 3, Flip: &better}, {Judged: 3, Total: 3, Done: &api.Preview{Zone: req.Zone, Gate: goodDigest, Judged: 3, Better: 1, Worse: 1, Rules: map[string]int{"no-critical": 1}}}}
		}
		var answer strings.Builder
		for _, p := range lines {
			b, _ := json.Marshal(p)
			answer.Write(append(b, '\n'))
		}
		return rawAnswer(answer.String()), nil
	})
}
