package db_test

import (
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authn"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/testparts"
)

func TestAccounts(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		ctx := t.Context()
		a := authn.Account{Name: "alice", Human: true, Grants: []authz.Grant{{Role: "developer", Pattern: "dev/**"}}, Created: noon}
		wantErr(t, "storing", d.PutAccount(ctx, a, event("1")), nil)
		a.Disabled, a.Grants = noon.Add(time.Hour), nil
		wantErr(t, "storing again", d.PutAccount(ctx, a, event("2")), nil)
		got, err := d.Account(ctx, "alice")
		wantErr(t, "reading", err, nil)
		check(t, "account", got, a)
		_, err = d.Account(ctx, "Alice")
		wantErr(t, "reading another", err, repo.ErrNotFound)
		for _, n := range []string{"ci", "bob", "Zoe"} {
			wantErr(t, "storing", d.PutAccount(ctx, authn.Account{Name: n, Created: noon}, event(n)), nil)
		}
		var names []string
		for after := ""; ; {
			page, err := d.Accounts(ctx, after, 2)
			wantErr(t, "listing", err, nil)
			for _, a := range page {
				names = append(names, a.Name)
				after = a.Name
			}
			if len(page) < 2 {
				break
			}
		}
		check(t, "names", names, []string{"Zoe", "alice", "bob", "ci"})
		check(t, "events", sequence(t, d, 100), 5)
	})
}

func TestCodes(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		ctx := t.Context()
		code := func(s, account string) authn.Code {
			return authn.Code{Hash: sha256.Sum256([]byte(s)), Account: account, Expires: noon.Add(15 * time.Minute)}
		}
		wantErr(t, "a code for nobody", d.PutCode(ctx, code("x", "alice"), event("0")), repo.ErrNotFound)
		wantErr(t, "storing", d.PutAccount(ctx, authn.Account{Name: "alice", Created: noon}, event("1")), nil)
		wantErr(t, "storing", d.PutCode(ctx, code("good", "alice"), event("2")), nil)
		wantErr(t, "storing", d.PutCode(ctx, code("late", "alice"), event("3")), nil)
		check(t, "events", sequence(t, d, 100), 3)

		token := authn.Token{ID: "t1", Hash: sha256.Sum256([]byte("secret")), Label: "laptop", Scope: []authz.Grant{}, Created: noon, Expires: noon.Add(time.Hour)}
		redeem := func(s string, at time.Time) (authn.Account, error) {
			return d.RedeemCode(ctx, sha256.Sum256([]byte(s)), at, token, event("redeemed "+s))
		}
		_, err := redeem("wrong", noon)
		wantErr(t, "an unknown code", err, repo.ErrNotFound)
		_, err = redeem("late", noon.Add(15*time.Minute))
		wantErr(t, "a late code", err, repo.ErrNotFound)
		who, err := redeem("good", noon)
		wantErr(t, "redeeming", err, nil)
		check(t, "who", who.Name, "alice")
		_, err = redeem("good", noon)
		wantErr(t, "a used code", err, repo.ErrNotFound)
		check(t, "events", sequence(t, d, 100), 1)
		last, err := d.Latest(ctx, audit.Filter{}, 1)
		wantErr(t, "reading", err, nil)
		check(t, "the event", string(last[0].Bytes), string(event("redeemed good").With("account", "alice").Bytes()))

		got, err := d.Token(ctx, "t1")
		token.Account = "alice"
		wantErr(t, "reading", err, nil)
		check(t, "token", got, token)
		if got.Scope == nil {
			t.Error("a token for nothing came back as one for everything")
		}

		wantErr(t, "disabling", d.PutAccount(ctx, authn.Account{Name: "alice", Created: noon, Disabled: noon}, event("4")), nil)
		token.ID = "t2"
		_, err = redeem("late", noon)
		wantErr(t, "a code of a disabled account", err, repo.ErrNotFound)
	})
}

// TestFirstCode: one is good at a time, and none once somebody has enrolled.
func TestFirstCode(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		ctx := t.Context()
		code := func(s string) authn.Code {
			return authn.Code{Hash: sha256.Sum256([]byte(s)), Account: "alice", Expires: noon.Add(15 * time.Minute), First: true}
		}
		token := authn.Token{ID: "t1", Hash: sha256.Sum256([]byte("secret")), Created: noon, Expires: noon.Add(time.Hour)}
		redeem := func(s string) error {
			_, err := d.RedeemCode(ctx, sha256.Sum256([]byte(s)), noon, token, event("redeemed "+s))
			return err
		}
		wantErr(t, "storing", d.PutAccount(ctx, authn.Account{Name: "alice", Created: noon}, event("1")), nil)
		wantErr(t, "storing", d.PutCode(ctx, code("by init"), event("2")), nil)
		wantErr(t, "storing", d.PutCode(ctx, code("by serve"), event("3")), nil)
		wantErr(t, "the older code", redeem("by init"), repo.ErrNotFound)
		wantErr(t, "redeeming", redeem("by serve"), nil)
		wantErr(t, "one more", d.PutCode(ctx, code("late"), event("4")), repo.ErrConflict)
		token.ID = "t2"
		wantErr(t, "redeeming that", redeem("late"), repo.ErrNotFound)
		later := code("by alice")
		later.First = false
		wantErr(t, "storing", d.PutCode(ctx, later, event("5")), nil)
		wantErr(t, "redeeming", redeem("by alice"), nil)
	})
}

func TestTokens(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		ctx := t.Context()
		token := authn.Token{ID: "t1", Account: "alice", Hash: sha256.Sum256([]byte("s")), Created: noon, Expires: noon.Add(time.Hour)}
		wantErr(t, "a token of nobody", d.PutToken(ctx, token, event("0")), repo.ErrNotFound)
		wantErr(t, "storing", d.PutAccount(ctx, authn.Account{Name: "alice", Created: noon}, event("1")), nil)
		wantErr(t, "storing", d.PutToken(ctx, token, event("2")), nil)
		if err := d.PutToken(ctx, token, event("3")); err == nil || errors.Is(err, repo.ErrNotFound) {
			t.Errorf("the same id again: %v", err)
		}
		second := token
		second.ID, second.Scope = "t0", []authz.Grant{{Role: "reader", Pattern: "dev/*"}}
		wantErr(t, "storing", d.PutToken(ctx, second, event("4")), nil)
		all, err := d.Tokens(ctx, "alice")
		wantErr(t, "listing", err, nil)
		check(t, "tokens", all, []authn.Token{second, token})
		if all[1].Scope != nil {
			t.Error("a token for everything came back as one for nothing")
		}

		for _, tt := range []struct {
			at   time.Duration
			used time.Duration
		}{{0, 0}, {30 * time.Minute, 0}, {61 * time.Minute, 61 * time.Minute}, {62 * time.Minute, 61 * time.Minute}, {0, 61 * time.Minute}} {
			wantErr(t, "touching", d.TouchToken(ctx, "t1", noon.Add(tt.at)), nil)
			got, err := d.Token(ctx, "t1")
			wantErr(t, "reading", err, nil)
			check(t, fmt.Sprint("used, after ", tt.at), got.Used, noon.Add(tt.used))
		}
		wantErr(t, "touching none", d.TouchToken(ctx, "none", noon), repo.ErrNotFound)

		for i := range 2 {
			wantErr(t, "revoking", d.RevokeToken(ctx, "t1", noon.Add(time.Duration(i)*time.Hour), event(fmt.Sprint("r", i))), nil)
		}
		got, err := d.Token(ctx, "t1")
		wantErr(t, "reading", err, nil)
		check(t, "revoked", got.Revoked, noon)
		wantErr(t, "revoking none", d.RevokeToken(ctx, "none", noon, event("5")), repo.ErrNotFound)
		check(t, "events", sequence(t, d, 100), 5)
	})
}

// TestKeys: keys follow each other, whoever makes them.
func TestKeys(t *testing.T) {
	key := func(id string, at time.Duration) authn.Key {
		return authn.Key{ID: id, Made: noon.Add(at), Value: []byte("value of " + id)}
	}
	run := func(t *testing.T, ds ...*db.DB) {
		ctx := t.Context()
		none, err := ds[0].Keys(ctx)
		check(t, "keys of an empty database", none, []authn.Key(nil))
		wantErr(t, "reading them", err, nil)
		// Several make the first at once, and one does.
		var won atomic.Int32
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				err := ds[i%len(ds)].PutKey(ctx, key("first", 0), "", nil, event(fmt.Sprint("key", i)))
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, repo.ErrConflict) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		check(t, "first keys", won.Load(), int32(1))
		d := ds[len(ds)-1]
		wantErr(t, "the second", d.PutKey(ctx, key("second", time.Hour), "first", nil, event("2")), nil)
		wantErr(t, "one after the first, which is no longer the newest", d.PutKey(ctx, key("x", 2*time.Hour), "first", nil, event("3")), repo.ErrConflict)
		if err := d.PutKey(ctx, key("x", time.Minute), "second", nil, event("4")); err == nil {
			t.Error("a key is newer than one that was made later")
		}
		got, err := ds[0].Keys(ctx)
		check(t, "keys", got, []authn.Key{key("first", 0), key("second", time.Hour)})
		wantErr(t, "reading them", err, nil)
		wantErr(t, "the third", d.PutKey(ctx, key("a third", 2*time.Hour), "second", []string{"first"}, event("5")), nil)
		got, err = ds[0].Keys(ctx)
		wantErr(t, "reading them again", err, nil)
		check(t, "keys once the first has ended", got, []authn.Key{key("second", time.Hour), key("a third", 2*time.Hour)})
	}
	t.Run("sqlite", func(t *testing.T) { run(t, dbtest.Open(t, db.Options{Folder: t.TempDir()})) })
	t.Run("postgres", func(t *testing.T) {
		url := testparts.Postgres(t)
		run(t, dbtest.Open(t, db.Options{URL: url}), dbtest.Open(t, db.Options{URL: url}))
	})
}

// TestFirstKey: the key of a database from before there were several is the
// oldest.
func TestFirstKey(t *testing.T) {
	engines(t, func(t *testing.T, o db.Options, p *sql.DB, _ goose.Dialect, _ fs.FS) {
		d := dbtest.Open(t, o)
		value := map[bool]string{true: `X'6f6c64'`, false: `'\x6f6c64'`}[o.URL == ""]
		if _, err := p.Exec(`INSERT INTO secret (name, value) VALUES ('bearer', ` + value + `), ('bear', ` + value + `), ('bearers', ` + value + `)`); err != nil {
			t.Fatal(err)
		}
		next := authn.Key{ID: "next", Made: noon, Value: []byte("new")}
		wantErr(t, "the next", d.PutKey(t.Context(), next, "", nil, event("1")), nil)
		got, err := d.Keys(t.Context())
		check(t, "keys", got, []authn.Key{{Value: []byte("old")}, next})
		wantErr(t, "reading them", err, nil)
		next2 := authn.Key{ID: "next2", Made: noon.Add(time.Hour), Value: []byte("newer")}
		wantErr(t, "one more", d.PutKey(t.Context(), next2, "next", []string{""}, event("2")), nil)
		got, err = d.Keys(t.Context())
		wantErr(t, "reading them again", err, nil)
		check(t, "keys", got, []authn.Key{next, next2})
	})
}
