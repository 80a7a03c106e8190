package waiver_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/waiver"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const gate = `apiVersion: bonded.dev/v1
kind: Gate
name: production
accepts: [image]
waive: {atMost: 72h}
enter:
  - {rule: plain, says: it has a layer, require: size(layers) > 0}
  - {rule: two, says: it has a layer, require: size(layers) > 0, waive: {people: 2, by: [sam, "group:leads"]}}
  - {rule: justified, says: it has a layer, require: size(layers) > 0, waive: {justification: required}}
  - {rule: never, says: it has a layer, require: size(layers) > 0, waive: {never: true}}
`

type world struct {
	*testing.T
	*waiver.Flow
	db  *db.DB
	now time.Time
}

// judge is of a world in which nothing stands.
type judge struct{}

func (judge) Suppose(context.Context, oci.Repository, oci.Digest, func([]evidence.Waiver) []evidence.Waiver) (before, after *api.Decision, err error) {
	return nil, nil, repo.ErrNotFound
}

func (judge) Found(context.Context, oci.Digest) ([]evidence.Finding, error) {
	return nil, repo.ErrNotFound
}

// each runs a test on both databases.
func each(t *testing.T, fn func(*world)) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			w := &world{T: t, now: noon}
			o := db.Options{Folder: t.TempDir()}
			if engine == "postgres" {
				o = db.Options{URL: testparts.Postgres(t)}
			}
			o.Clock, o.Logger = func() time.Time { return w.now }, slog.New(slog.DiscardHandler)
			o.Rand = rand.Reader
			var err error
			if w.db, err = db.Open(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := w.db.Close(); err != nil {
					t.Error(err)
				}
			})
			g, err := policy.Parse("production", []byte(gate))
			if err != nil {
				t.Fatal(err)
			}
			w.Flow = waiver.New(waiver.Options{
				Zones: repo.Zones{"production": {Name: "production", Gate: "production"}, "sandbox": {Name: "sandbox"}}, Judge: judge{}, WorkJob: "waiver", JudgeJob: "judge",
				Gate: func(zone string) *policy.Gate {
					if zone == "production" {
						return g
					}
					return nil
				},
				Update: func(ctx context.Context, fn func(waiver.Tx) error) error {
					return w.db.Update(ctx, func(tx *db.Tx) error { return fn(tx) })
				},
				View: func(ctx context.Context, fn func(waiver.Tx) error) error {
					return w.db.View(ctx, func(tx *db.Tx) error { return fn(tx) })
				},
				Clock: func() time.Time { return w.now }, Rand: rand.Reader,
			})
			fn(w)
		})
	}
}

func who(name, grant string, groups ...string) authz.Principal {
	g, err := authz.ParseGrant(grant)
	if err != nil {
		panic(err)
	}
	return authz.Principal{Issuer: "bonded", Subject: name, Method: "token", Grants: []authz.Grant{g}, Claims: authz.InGroups(nil, groups)}
}

var (
	ann = who("ann", "developer=production/**")
	sam = who("sam", "security")
	sue = who("sue", "security=production/**", "leads", "others")
	tom = who("tom", "security")
)

func asked(rule string) api.WaiverRequest {
	return api.WaiverRequest{Repositories: "production/**", Rule: rule, Reason: "it is fine", Until: noon.Add(time.Hour)}
}

func (w *world) ask(p authz.Principal, req api.WaiverRequest) string {
	w.Helper()
	done, err := w.Ask(w.Context(), p, req)
	if err != nil {
		w.Fatal(err)
	}
	return done.Waiver.ID
}

// TestRefused: what no yes could bring in force is refused with what the gate asks
// for, and who may not.
func TestRefused(t *testing.T) {
	each(t, func(w *world) {
		for _, tt := range []struct {
			p      authz.Principal
			change func(*api.WaiverRequest)
			is     error
			says   string
		}{
			{ann, func(r *api.WaiverRequest) { r.Rule = "none" }, evidence.ErrWaiverInvalid, "it has plain, two, justified, never"},
			{ann, func(r *api.WaiverRequest) { r.Rule = "never" }, evidence.ErrWaiverInvalid, "nobody can waive"},
			{ann, func(r *api.WaiverRequest) { r.Rule = "justified" }, evidence.ErrWaiverInvalid, "asks for a justification"},
			{ann, func(r *api.WaiverRequest) { r.Until = noon.Add(73 * time.Hour) }, evidence.ErrWaiverInvalid, "at most 72h"},
			{ann, func(r *api.WaiverRequest) { r.Until = noon.Add(-time.Hour) }, evidence.ErrWaiverInvalid, "no time at all"},
			{ann, func(r *api.WaiverRequest) { r.From, r.Until = noon.Add(-2*time.Hour), noon }, evidence.ErrWaiverInvalid, "which is past"},
			{ann, func(r *api.WaiverRequest) { r.Repositories = "**" }, evidence.ErrWaiverInvalid, "the zone has to be written out"},
			{ann, func(r *api.WaiverRequest) { r.Repositories = "sandbox/**" }, authz.ErrNotPermitted, "in all of sandbox/**"},
			{sam, func(r *api.WaiverRequest) { r.Repositories = "sandbox/**" }, evidence.ErrWaiverInvalid, "nothing is judged"},
			{sam, func(r *api.WaiverRequest) { r.Repositories = "other/**" }, repo.ErrNotFound, "bonded zone list"},
			{ann, func(r *api.WaiverRequest) { r.Reason = " " }, evidence.ErrWaiverInvalid, "no reason"},
			{ann, func(r *api.WaiverRequest) { r.Follow = true }, evidence.ErrWaiverInvalid, "name the digest"},
			{ann, func(r *api.WaiverRequest) { r.Digest = "x" }, oci.ErrDigestInvalid, ""},
			{ann, func(r *api.WaiverRequest) { r.Renews = "7" }, repo.ErrNotFound, ""},
			{who("bob", "reader=production/a/**"), func(*api.WaiverRequest) {}, authz.ErrNotPermitted, ""},
		} {
			req := asked("plain")
			tt.change(&req)
			if _, err := w.Ask(w.Context(), tt.p, req); !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				w.Errorf("%+v: %v, want %v %q", req, err, tt.is, tt.says)
			}
		}
	})
}

// TestGranted: by whom the gate asks for, each once, and not by who asked where
// several have to.
func TestGranted(t *testing.T) {
	each(t, func(w *world) {
		id := w.ask(sam, asked("two"))
		for _, tt := range []struct {
			p  authz.Principal
			is error
		}{
			{ann, authz.ErrNotPermitted}, {sam, evidence.ErrWaiverInvalid}, {tom, evidence.ErrWaiverInvalid},
			{who("low", "security=production/a/**"), repo.ErrNotFound}, {sue, nil}, {sue, repo.ErrConflict},
		} {
			if _, err := w.Grant(w.Context(), tt.p, id, false); !errors.Is(err, tt.is) {
				w.Errorf("%s grants: %v, want %v", tt.p.Name(), err, tt.is)
			}
		}
		if got, err := w.Show(w.Context(), sam, id); err != nil || got.State != "asked" || got.Granted[0].Groups[0] != "leads" {
			w.Errorf("%+v %v", got, err)
		}
		done, err := w.Grant(w.Context(), who("kim", "security", "leads"), id, false)
		if err != nil || done.Waiver.State != "granted" || !done.Waiver.Rules[0].Until.Equal(noon.Add(time.Hour)) {
			w.Fatalf("%+v %v", done, err)
		}
		if _, err := w.Deny(w.Context(), tom, id, "no"); !errors.Is(err, repo.ErrConflict) {
			w.Errorf("denying what is granted: %v", err)
		}
		if _, err := w.End(w.Context(), tom, id, ""); !errors.Is(err, evidence.ErrWaiverInvalid) {
			w.Errorf("ending without a reason: %v", err)
		}
		if _, err := w.End(w.Context(), ann, id, "no"); !errors.Is(err, authz.ErrNotPermitted) {
			w.Errorf("ending what others asked for: %v", err)
		}
		if _, err := w.End(w.Context(), sam, id, "mended"); err != nil {
			w.Error(err)
		}
		if _, err := w.End(w.Context(), sam, id, "mended"); !errors.Is(err, repo.ErrConflict) {
			w.Errorf("ended twice: %v", err)
		}
		renewed := w.ask(ann, api.WaiverRequest{Renews: id, Until: noon.Add(2 * time.Hour)})
		if got, err := w.Show(w.Context(), ann, renewed); err != nil || got.Rule != "two" || got.Renews != id || got.AskedBy != "ann" || got.Owner != "sam" {
			w.Errorf("%+v %v", got, err)
		}
	})
}

// TestActs: each act has a number, decisions of before are given the waivers of
// before, and an end that was seen past stays.
func TestActs(t *testing.T) {
	each(t, func(w *world) {
		id := w.ask(ann, asked("plain"))
		at := func(act int64) string {
			var got string
			err := w.db.View(w.Context(), func(tx *db.Tx) error {
				latest, err := tx.WaiverAct(w.Context(), "production")
				if err != nil {
					return err
				}
				ws, err := tx.WaiversAt(w.Context(), "production", act)
				got = fmt.Sprint(latest)
				for _, one := range ws {
					got += fmt.Sprintf(" %s by %d", one.ID, len(one.Granted))
				}
				return err
			})
			if err != nil {
				w.Fatal(err)
			}
			return got
		}
		want := func(when, got, want string) {
			w.Helper()
			if got != want {
				w.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		want("asked", at(9), "0")
		for _, p := range []authz.Principal{sam, sue} {
			if _, err := w.Grant(w.Context(), p, id, false); err != nil {
				w.Fatal(err)
			}
		}
		want("granted", at(2), "2 1 by 2")
		want("then", at(1), "2 1 by 1")
		w.now = noon.Add(time.Hour)
		if err := w.Expire(w.Context()); err != nil {
			w.Fatal(err)
		}
		w.now = noon
		want("over", at(3), "3")
		want("before", at(2), "3 1 by 2")
		if got, err := w.Show(w.Context(), ann, id); err != nil || got.State != "expired" {
			w.Errorf("%+v %v", got, err)
		}
		list, next, err := w.List(w.Context(), ann, "production", true, 0, 10)
		if err != nil || len(list) != 0 || next != 0 {
			w.Errorf("open: %+v %v", list, err)
		}
		if list, _, err = w.List(w.Context(), who("bob", "reader=dev/**"), "", false, 0, 10); err != nil || len(list) != 0 {
			w.Errorf("who may not pull there sees %+v %v", list, err)
		}
		for n := range 101 {
			_, err := w.Ask(w.Context(), ann, asked("plain"))
			if (n == 100) != errors.Is(err, waiver.ErrTooMany) {
				w.Fatalf("%d: %v", n, err)
			}
		}
	})
}

// TestExportNothing: there is no document without a statement.
func TestExportNothing(t *testing.T) {
	each(t, func(w *world) {
		for _, pattern := range []string{"", "production/**"} {
			if doc, err := w.Export(w.Context(), sam, pattern); !errors.Is(err, repo.ErrNotFound) {
				w.Errorf("%s %v", doc, err)
			}
		}
		if _, err := w.Export(w.Context(), sam, "*x"); !errors.Is(err, evidence.ErrWaiverInvalid) {
			w.Errorf("a pattern that is none: %v", err)
		}
	})
}
