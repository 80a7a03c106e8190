package db_test

import (
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
)

func TestSessions(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		ctx := t.Context()
		s := push.Session{ID: "0123", Repository: oci.MustRepository("dev/a"), Principal: "alice", Offset: 7, Hash: []byte{1, 0, 2}, Started: noon, Touched: noon.Add(time.Second)}
		wantErr(t, "saving what was not begun", d.SaveSession(ctx, s), repo.ErrNotFound)
		wantErr(t, "beginning", d.BeginSession(ctx, s), nil)
		if d.BeginSession(ctx, s) == nil {
			t.Error("a session was begun twice")
		}
		next := s
		next.Offset, next.Hash, next.Touched = 1<<40, nil, noon.Add(time.Minute)
		next.Principal = "mallory" // not a thing that changes
		wantErr(t, "saving", d.SaveSession(ctx, next), nil)
		next.Principal = "alice"
		got, err := d.Session(ctx, s.ID)
		wantErr(t, "reading", err, nil)
		check(t, "session", got, next)
		for i, id := range []blob.UploadID{"a", "b", "c"} {
			other := s
			other.ID, other.Touched = id, noon.Add(time.Duration(-i)*time.Hour)
			wantErr(t, "beginning", d.BeginSession(ctx, other), nil)
		}
		stale, err := d.StaleSessions(ctx, noon, 10)
		wantErr(t, "listing", err, nil)
		if len(stale) != 2 || stale[0].ID != "c" || stale[1].ID != "b" {
			t.Errorf("stale: %+v", stale)
		}
		for range 2 {
			wantErr(t, "ending", d.EndSession(ctx, s.ID), nil)
		}
		_, err = d.Session(ctx, s.ID)
		wantErr(t, "reading what has ended", err, repo.ErrNotFound)
	})
}
