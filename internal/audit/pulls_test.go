package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
)

// TestPulls: pulls of an interval are one event for each principal and digest;
// nothing is lost while they cannot be written, and what is left is written at
// the end.
func TestPulls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		var fail error
		p := NewPulls(PullsOptions{
			Write: func(_ context.Context, events []Event) error {
				mu.Lock()
				defer mu.Unlock()
				if fail != nil {
					return fail
				}
				for _, e := range events {
					got = append(got, fmt.Sprint(e.Kind, " ", e.Principal, " ", e.Repository, " ", e.Details["count"]))
				}
				return nil
			},
			Event: func(p authz.Principal, kind string) (Event, error) { return New("1", time.Now(), p, kind), nil },
			Clock: time.Now, Distinct: 3,
		})
		said := func() []string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			out := got
			got = nil
			return out
		}
		ann, ci := authz.Principal{Subject: "ann", Method: "token"}, authz.Principal{Issuer: "https://ci", Subject: "x", Method: "oidc"}
		app, d := oci.MustRepository("dev/app"), oci.FromBytes([]byte("a"))
		p.Start()
		p.Start()
		for range 3 {
			p.Add(ann, app, d)
			time.Sleep(time.Millisecond)
		}
		p.Add(ci, app, d)
		time.Sleep(5 * time.Second)
		if want := []string{"manifest.pulled ann dev/app 3", "manifest.pulled https://ci#x dev/app 1"}; !slices.Equal(said(), want) {
			t.Errorf("want %q", want)
		}
		time.Sleep(time.Minute)
		if out := said(); len(out) > 0 {
			t.Errorf("without pulls: %q", out)
		}
		mu.Lock()
		fail = errors.New("the database is away")
		mu.Unlock()
		p.Add(ann, app, d)
		time.Sleep(10 * time.Second)
		mu.Lock()
		fail = nil
		mu.Unlock()
		p.Add(ann, app, d)
		time.Sleep(5 * time.Second)
		if want := []string{"manifest.pulled ann dev/app 2"}; !slices.Equal(said(), want) {
			t.Errorf("want %q", want)
		}
		for i := range 10 { // more than are told apart
			p.Add(ann, app, oci.FromBytes([]byte{byte(i)}))
			time.Sleep(time.Millisecond)
		}
		for range 2 {
			if err := p.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if want := []string{"manifest.pulled ann dev/app 1", "manifest.pulled ann dev/app 1", "manifest.pulled ann dev/app 1", "manifest.pulled ann  7"}; !slices.Equal(said(), want) {
			t.Errorf("want %q", want)
		}
	})
}

func TestPullsNeverStarted(t *testing.T) {
	p := NewPulls(PullsOptions{})
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	p.Start()
}
