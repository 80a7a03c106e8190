package trust

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLogKeys: logs.json names the keys of the logs that clients read, those of
// before too, and the witnesses.
func TestLogKeys(t *testing.T) {
	w := newWorld(t)
	w.o.Witnesses, w.o.Quorum = []string{"watch.example+1+a", "watch2.example+1+a"}, 2
	w.init(InitOptions{})
	i := w.rotate(RotateOptions{Slots: []Slot{LogAudit}, Offline: w.offline("")})
	b, err := i.LogKeys()
	if err != nil {
		t.Fatal(err)
	}
	all, err := ParseLogKeys(b)
	if err != nil {
		t.Fatal(err)
	}
	audit := all.Audit()
	if len(audit) != 2 || audit[0].Until != (time.Time{}) || audit[1].Until.IsZero() || audit[0].Key == audit[1].Key || !audit[1].Good(audit[1].Until.Add(-1)) || audit[1].Good(audit[1].Until) {
		t.Errorf("the keys of the audit log are %+v", audit)
	}
	if !slices.Equal(all.Witnesses, w.o.Witnesses) || all.Quorum != 2 || len(all.Logs) != 3 {
		t.Errorf("it says %+v", all)
	}
	for name, change := range map[string][2]string{
		"another type":        {"logs.v1", "logs.v2"},
		"a key by other name": {`"key": "` + i.Origin() + "/audit+", `"key": "other.example/audit+`},
		"no quorum":           {`"quorum": 2`, `"quorum": 0`},
		"more than there are": {`"quorum": 2`, `"quorum": 3`},
		"no JSON":             {"{", "["},
	} {
		if _, err := ParseLogKeys([]byte(strings.Replace(string(b), change[0], change[1], 1))); err == nil {
			t.Errorf("%s: it is read", name)
		}
	}
}

func FuzzLogKeys(f *testing.F) {
	f.Add([]byte(`{"mediaType":"application/vnd.bonded.logs.v1+json","logs":[{"origin":"a/audit","key":"a/audit+523b3b5f+AbhGsv4X/yJKeEDvkXKAiLBc7J33P3UZUij25ogyu5kQ","from":"2026-01-01T00:00:00Z"}],"witnesses":[],"quorum":0}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseLogKeys(b)
		if err != nil {
			return
		}
		for _, k := range all.Audit() {
			if !strings.HasPrefix(k.Key, k.Origin+"+") {
				t.Errorf("the key %q is given for the log %q", k.Key, k.Origin)
			}
		}
	})
}
