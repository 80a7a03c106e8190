package cli

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
)

// TestOldStates: a state that is validly signed and old is refused, with the
// least that would be taken.
func TestOldStates(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	state := func(n int64, digest string, at time.Time) *api.Epoch {
		return &api.Epoch{Repository: "production/app", Epoch: n, Digest: digest, At: at, Expires: at.Add(24 * time.Hour)}
	}
	before := seenEpoch{Epoch: 41, Digest: "a", At: noon}
	for _, tt := range []struct {
		name string
		e    *api.Epoch
		seen seenEpoch
		now  time.Time
		want exitCode
		says string
	}{
		{"the first", state(1, "a", noon), seenEpoch{}, noon, exitDone, ""},
		{"the same", state(41, "a", noon), before, noon.Add(time.Hour), exitDone, ""},
		{"the same, signed again", state(41, "a", noon.Add(12*time.Hour)), before, noon.Add(13 * time.Hour), exitDone, ""},
		{"a newer one", state(42, "b", noon.Add(time.Minute)), before, noon.Add(time.Hour), exitDone, ""},
		{"a replayed tag", state(40, "z", noon.Add(-time.Minute)), before, noon.Add(time.Hour), exitDenied, "it is epoch 40, expected at least epoch 41"},
		{"a restored backup that went on", state(41, "c", noon.Add(time.Hour)), before, noon.Add(time.Hour), exitDenied, "expected at least epoch 42"},
		{"a frozen mirror", state(41, "a", noon), before, noon.Add(24 * time.Hour), exitDenied, "expired on 2026-11-23T12:00:00Z; expected at least epoch 41"},
		{"a frozen mirror, the first time", state(7, "a", noon), seenEpoch{}, noon.Add(25 * time.Hour), exitDenied, "expected at least epoch 7"},
		{"the clock was set back", state(41, "a", noon.Add(-30*time.Hour)), before, noon.Add(-24 * time.Hour), exitDenied, "expired"},
		{"a server a little ahead", state(42, "b", noon.Add(skew)), before, noon, exitDone, ""},
		{"a server far ahead", state(42, "b", noon.Add(skew+time.Second)), before, noon, exitCannotTell, "the clock of this machine"},
	} {
		err := notFresh(tt.e, tt.seen, tt.now)
		got := exitDone
		if f := new(failure); errors.As(err, &f) {
			got = f.code
		}
		if got != tt.want || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %d, %v", tt.name, got, err)
		}
	}
}
