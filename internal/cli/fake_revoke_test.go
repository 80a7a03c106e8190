package cli_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/sign/seal"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// states are those of repositories, by name, before they are proven.
func states() map[string]api.RepositoryEpoch {
	lines := []string{"placement " + goodDigest + " admitted", "tag 1.7 " + goodDigest}
	at := func(repository string, n int64, made time.Time) api.RepositoryEpoch {
		return api.RepositoryEpoch{
			Epoch: api.Epoch{Repository: repository, Epoch: n, At: made, Expires: made.Add(24 * time.Hour), Tags: 1, Placements: 1, Digest: api.StateDigest(lines)},
			Text:  "no batch proves this state yet; ask again in a few seconds", State: lines,
		}
	}
	other := at("dev/other", 7, now)
	other.Digest = snapDigest
	signed := at("dev/signed", 3, now)
	signed.State = []string{"placement " + goodDigest + " admitted", "tag 1 " + goodDigest}
	signed.Digest = api.StateDigest(signed.State)
	all := map[string]api.RepositoryEpoch{"dev/other": other, "dev/signed": signed}
	for _, e := range []api.RepositoryEpoch{
		at("dev/payments/api", 41, now.Add(-time.Hour)), at("dev/frozen", 5, now.Add(-25*time.Hour)), at("dev/ahead", 1, now.Add(time.Hour)),
		at("dev/new", 1, now), at("dev/waits", 1, now), at("dev/forged", 1, now), at("dev/elsewhere", 1, now), at("dev/swapped", 1, now),
	} {
		all[e.Repository] = e
	}
	return all
}

// prove puts all states into one batch, in the order of their names. That of
// dev/waits is in none, dev/forged says something else than was signed,
// dev/elsewhere was signed by another server, and dev/swapped is dev/new's.
func (f *fakeServer) prove() map[string]api.RepositoryEpoch {
	all := states()
	names := slices.Sorted(maps.Keys(all))
	var leaves []sign.Hash
	for _, name := range names {
		e := all[name]
		e.Payload = must(json.Marshal(e.Epoch))
		all[name] = e
		leaves = append(leaves, sign.PayloadHash(e.Payload))
	}
	batch := f.batch(f.URL, leaves)
	for i, name := range names {
		e := all[name]
		e.Proven, e.Text, e.Index, e.Batch = true, "", int64(i), batch
		for _, h := range sign.Path(leaves, i) {
			e.Path = append(e.Path, hex.EncodeToString(h[:]))
		}
		switch name {
		case "dev/waits":
			e = states()[name]
		case "dev/forged":
			e.Epoch.Epoch, e.Payload = 9, bytes.Replace(e.Payload, []byte(`"epoch":1`), []byte(`"epoch":9`), 1)
		case "dev/swapped":
			e = all["dev/new"]
		case "dev/elsewhere":
			e.Batch = f.batch("https://elsewhere.example", leaves)
		}
		all[name] = e
	}
	return all
}

// batch signs a batch of states, as the server of that name.
func (f *fakeServer) batch(name string, leaves []sign.Hash) *api.Batch {
	describe := func(leaves []sign.Hash) sign.Tree {
		root := sign.Root(leaves)
		return sign.Tree{Count: int64(len(leaves)), Root: hex.EncodeToString(root[:])}
	}
	states := describe(leaves)
	p := sign.Predicate{Number: 17, At: now, Decisions: describe(nil), Epochs: &states}
	statement := must(attest.Make(seal.TypeBatch, p, attest.About(name+"/batches/17", oci.MustDigest("sha256:"+p.Decisions.Root))))
	identity, issuer := trust.IdentityOf(name)
	bundle := f.sigstore.JSON(f.sigstore.Bundle(verifytest.Spec{Payload: statement, Identity: identity, Issuer: issuer, At: now}))
	return &api.Batch{Number: 17, Digest: oci.FromBytes(statement).String(), Bundle: bundle}
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
	waiversFake(handle)
	handle("GET /api/v1/revocations", func(r *http.Request) (any, *api.Error) {
		if r.URL.Query().Get("after") != "" {
			return api.Page[api.Revocation]{Items: []api.Revocation{}}, nil
		}
		return api.Page[api.Revocation]{Next: "3", Items: []api.Revocation{
			{ID: 4, Kind: "digest", What: badDigest, Reason: "stolen\x1b[2J", By: "ann", At: now.Add(-time.Hour), Progress: &api.RevocationProgress{Withdrawn: 100_000, Recorded: 40_960, Waiting: 12}},
			{ID: 3, Kind: "feed", What: "feed osv/Go", Reason: "forged", By: "ann", At: now.Add(-24 * time.Hour), Lifted: &api.Lifted{By: "bob", At: now, Reason: "it was not"}, Progress: &api.RevocationProgress{Withdrawn: 1200, Recorded: 1200, GivenBack: 300}},
		}}, nil
	})
	handle("POST /api/v1/revocations/4/lift", func(r *http.Request) (any, *api.Error) {
		req := body[api.LiftRequest](f, r)
		given := hit
		given.State, given.Why = "revoked", "was admitted"
		return api.Revoked{Revocation: api.Revocation{ID: 4, What: badDigest, Lifted: &api.Lifted{By: "ann", At: now, Reason: req.Reason}}, Hits: []api.RevocationHit{given}}, nil
	})
	handle("GET /api/v1/epoch", func(r *http.Request) (any, *api.Error) {
		e, ok := f.proven()[r.URL.Query().Get("repository")]
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
