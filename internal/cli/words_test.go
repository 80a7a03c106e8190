package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/api"
)

func TestWords(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	w := words{now: now}
	for _, tc := range []struct{ got, want string }{
		{w.ago(time.Time{}), "–"},
		{w.ago(now.Add(-time.Second)), "just now"},
		{w.ago(now.Add(-41 * time.Second)), "41 s ago"},
		{w.ago(now.Add(-2 * time.Minute)), "2 min ago"},
		{w.ago(now.Add(-47 * time.Hour)), "47 h ago"},
		{w.ago(now.Add(-49 * time.Hour)), "2 days ago"},
		{w.ago(now.AddDate(0, -5, 0)), "5 months ago"},
		{w.ago(now.AddDate(-3, 0, 0)), "3 years ago"},
		{w.ago(now.Add(14 * time.Minute)), "in 14 min"},
		{w.ago(now.Add(time.Hour - 20*time.Millisecond)), "in 1 h"},
		{w.ago(now.Add(40 * time.Second)), "in 40 s"},
		{w.ago(now.Add(90*24*time.Hour - time.Second)), "in 90 days"},
		{moment(now), "2026-11-22 12:00:00Z"},
		{moment(time.Time{}), "–"},
		{count(0), "–"}, {count(999), "999"}, {count(int64(18204311)), "18\u00a0204\u00a0311"}, {count(-1000), "-1\u00a0000"},
		{many(0, "tag", "tags"), "no tags"}, {many(1, "tag", "tags"), "1 tag"}, {many(2, "tag", "tags"), "2 tags"},
		{bytesOf(0), "0 B"}, {bytesOf(999), "999 B"}, {bytesOf(71_234_567), "71.2 MB"}, {bytesOf(999_960), "1.0 MB"}, {bytesOf(3 << 50), "3.4 PB"},
		{short("sha256:" + strings.Repeat("9c1e", 16)), "sha256:9c1e…9c1e"}, {short("no digest"), "no digest"},
		{pathOf("dev/payments/api"), "payments/api"}, {pathOf("dev"), "dev"},
		{list(nil), "–"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

// TestCleaned: what comes out of an image cannot move the cursor.
func TestCleaned(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	in := &api.Why{
		Artifact: api.Artifact{Repository: "dev/\x1b[2Ja", Tags: []string{"a\nb"}},
		Decision: &api.Decision{DecidedAt: at, Reasons: []api.Reason{{Says: "\u202eevil"}}},
	}
	want := &api.Why{
		Artifact: api.Artifact{Repository: "dev/\ufffd[2Ja", Tags: []string{"a b"}},
		Decision: &api.Decision{DecidedAt: at, Reasons: []api.Reason{{Says: "\ufffdevil"}}},
	}
	if diff := cmp.Diff(want, cleaned(in)); diff != "" {
		t.Error(diff)
	}
	if in.Repository != "dev/\x1b[2Ja" {
		t.Error("the answer itself was changed")
	}
	m := cleaned(map[string]string{"a\x00": "b\x00"})
	if diff := cmp.Diff(map[string]string{"a\ufffd": "b\ufffd"}, m); diff != "" {
		t.Error(diff)
	}
	if got := cleanLines("a\x1b\nb\r\n"); got != "a\ufffd\nb\n" {
		t.Errorf("got %q", got)
	}
}

// TestExits pins the numbers that scripts rely on.
func TestExits(t *testing.T) {
	for outcome, want := range map[api.Outcome]exitCode{api.Allow: 0, api.Deny: 1, api.CannotTell: 3, "new": 6} {
		if got := exitOf(outcome); got != want {
			t.Errorf("%s exits with %d, want %d", outcome, got, want)
		}
	}
}

func TestAskedFirst(t *testing.T) {
	for ref, want := range map[string]string{
		"dev/a:3": "3 1 2", "dev/a:1": "1 2 3", "dev/a": "1 2 3", "dev/a:9": "1 2 3", "h:2/dev/a": "1 2 3", "dev/a@sha256:2": "1 2 3", "": "1 2 3",
	} {
		if got := strings.Join(askedFirst([]string{"1", "2", "3"}, ref), " "); got != want {
			t.Errorf("%q: %s, want %s", ref, got, want)
		}
	}
}
