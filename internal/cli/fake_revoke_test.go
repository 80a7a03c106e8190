package cli_test

import (
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bonded-dev/bonded/api"
)

// states are the answers about repositories, by name.
func states() map[string]api.RepositoryEpoch {
	lines := []string{"placement " + goodDigest + " admitted", "tag 1.7 " + goodDigest}
	at := func(repository string, n int64, made time.Time) api.RepositoryEpoch {
		return api.RepositoryEpoch{
			Epoch: api.Epoch{Repository: repository, Epoch: n, At: made, Expires: made.Add(24 * time.Hour), Tags: 1, Placements: 1, Digest: api.StateDigest(lines)},
			Text:  "no batch proves this state yet; ask again in a few seconds", State: lines,
		}
	}
	ok := at("dev/payments/api", 41, now.Add(-time.Hour))
	ok.Proven, ok.Index, ok.Batch = true, 3, &api.Batch{Number: 17, Digest: gateDigest}
	frozen := at("dev/frozen", 5, now.Add(-25*time.Hour))
	other := at("dev/other", 7, now)
	other.Digest = snapDigest
	return map[string]api.RepositoryEpoch{
		"dev/payments/api": ok, "dev/frozen": frozen, "dev/other": other, "dev/ahead": at("dev/ahead", 1, now.Add(time.Hour)), "dev/new": at("dev/new", 1, now), "dev/swapped": at("dev/new", 1, now),
	}
}

// trustEnds answers about revocations and states.
func (f *fakeServer) trustEnds(handle handler) {
	hit := api.RevocationHit{Repository: "production/payments/api", Digest: badDigest, Tags: []string{"1.8"}, Kind: "image", State: "admitted", Why: "it is " + badDigest}
	handle("POST /api/v1/revocations", func(r *http.Request) (any, *api.Error) {
		req := body[api.RevokeRequest](f, r)
		out := api.Revoked{Revocation: api.Revocation{ID: 4, Kind: req.Kind, Reason: req.Reason, By: "ann", At: now}, Preview: req.Preview, Hits: []api.RevocationHit{}}
		switch {
		case req.Digest == badDigest:
			out.Revocation.What, out.Hits, out.Barred, out.Rejudged = badDigest, append(out.Hits, hit), 1, 2
		case req.Principal == "ci" && !req.From.IsZero() && req.Until.Equal(now):
			out.Revocation.What = "what ci pushed"
		case req.Key != "" || req.Subject != "" || req.Builder != "" || req.Feed != "":
			out.Revocation.What = req.Key + req.Subject + req.Issuer + req.Builder + req.Feed
		default:
			return nil, &api.Error{Code: "invalid", Message: "not a valid revocation: a window is of what one signer signed (key, subject or builder), or of what one principal pushed"}
		}
		return out, nil
	})
	handle("GET /api/v1/revocations", func(r *http.Request) (any, *api.Error) {
		if r.URL.Query().Get("after") != "" {
			return api.Page[api.Revocation]{Items: []api.Revocation{}}, nil
		}
		return api.Page[api.Revocation]{Next: "3", Items: []api.Revocation{
			{ID: 4, Kind: "digest", What: badDigest, Reason: "stolen\x1b[2J", By: "ann", At: now.Add(-time.Hour)},
			{ID: 3, Kind: "feed", What: "feed osv/Go", Reason: "forged", By: "ann", At: now.Add(-24 * time.Hour), Lifted: &api.Lifted{By: "bob", At: now, Reason: "it was not"}},
		}}, nil
	})
	handle("POST /api/v1/revocations/4/lift", func(r *http.Request) (any, *api.Error) {
		req := body[api.LiftRequest](f, r)
		given := hit
		given.State, given.Why = "revoked", "was admitted"
		return api.Revoked{Revocation: api.Revocation{ID: 4, What: badDigest, Lifted: &api.Lifted{By: "ann", At: now, Reason: req.Reason}}, Hits: []api.RevocationHit{given}}, nil
	})
	handle("GET /api/v1/epoch", func(r *http.Request) (any, *api.Error) {
		e, ok := states()[r.URL.Query().Get("repository")]
		if !ok {
			return nil, notFound(r)
		}
		if r.URL.Query().Get("state") != "true" {
			e.State = nil
		}
		return e, nil
	})
}

// seenBefore writes what was seen of a repository: seen REPOSITORY EPOCH DIGEST
// TIME, with the digest that it has now for "same".
func seenBefore(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: seen REPOSITORY EPOCH DIGEST TIME")
	}
	if args[2] == "same" {
		args[2] = states()[args[0]].Digest
	}
	text := fmt.Sprintf(`{"version":1,"servers":{%q:{%q:{"epoch":%s,"digest":%q,"at":%q}}}}`, ts.Getenv("FAKE_URL"), args[0], args[1], args[2], args[3])
	ts.Check(os.WriteFile(ts.MkAbs("state/bonded/epochs.json"), []byte(text), 0o600))
}
