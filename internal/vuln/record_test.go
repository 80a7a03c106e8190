package vuln

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/evidence"
)

func TestParseRecord(t *testing.T) {
	raw := `{"schema_version":"1.7.0","id":"GHSA-1","modified":"2031-01-01T00:00:00.5Z","published":"2024-01-02T03:04:05+01:00","withdrawn":null,
"aliases":["CVE-2024-1 ","CVE-2024-1","https://example.com/no-id",""],"upstream":["U-1"],"related":["CVE-2024-9"],
"summary":" \u001b[31mRed\u001b[0m  alert\n","details":"long","severity":[{"type":"CVSS_V3","score":"` + cvss75 + `"},{"type":"CVSS_V4","score":"CVSS:4.0/nonsense"},{"type":7}],
"affected":[
 {"package":{"ecosystem":"PyPI","name":"Some_Pkg","purl":"pkg:pypi/some-pkg"},"versions":["0.9","1.5","3.0","weird"],"severity":null,
  "ranges":[{"type":"GIT","repo":"https://example.com","events":[{"introduced":"0","nonsense":1}]},
            {"type":"ECOSYSTEM","events":[{"fixed":"2.0"},{"introduced":"1.0"},{"limit":"*"}],"database_specific":"text"}]},
 {"package":{"ecosystem":"Go","name":"example.com/M"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0","fixed":"1.2.3"}]}],
  "ecosystem_specific":{"imports":[{"path":"x"}],"severity":["list"]},"database_specific":{"severity":"LOW"}},
 {"package":{"ecosystem":"Go","name":"commits/only"},"ranges":[{"type":"GIT","events":[]}]},
 {"ranges":[{"type":"GIT","repo":"x","events":[{"introduced":"0"}]}]},
 {"package":{"ecosystem":"npm","name":"nothing"}}
],"credits":[{"name":"x"}],"database_specific":{"severity":{"not":"text"}}}`
	want := &Record{
		ID: "GHSA-1", Modified: time.Date(2031, 1, 1, 0, 0, 0, 5e8, time.UTC), Published: time.Date(2024, 1, 2, 2, 4, 5, 0, time.UTC),
		Aliases: []string{"CVE-2024-1"}, Upstream: []string{"U-1"}, Summary: "[31mRed [0m alert",
		Rating: Rating{Level: evidence.High, Score: 7.5, Vector: cvss75},
		Affected: []Affected{
			{
				Ecosystem: "PyPI", Name: "some-pkg", Versions: []string{"0.9", "3.0", "weird"},
				Ranges: []Range{{Events: []Event{{Introduced, "1.0"}, {Fixed, "2.0"}}}},
			},
			{
				Ecosystem: "Go", Name: "example.com/m", Rating: Rating{Level: evidence.Low},
				Ranges: []Range{{Semver: true, Events: []Event{{Introduced, "0"}, {Fixed, "1.2.3"}}}},
			},
		},
		Ignored: 3,
	}
	got := mustParse(t, raw)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("record (-want +got):\n%s", d)
	}
}

func TestParseRecordRefuses(t *testing.T) {
	entry := func(s string) string {
		return rec("A-1", `"affected":[{"package":{"ecosystem":"npm","name":"x"},`+s+`}]`)
	}
	events := func(s string) string { return entry(`"ranges":[{"type":"SEMVER","events":[` + s + `]}]`) }
	many := func(n int, s string) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }
	for name, tt := range map[string]struct{ raw, want string }{
		"empty":                  {"", "unexpected end"},
		"cut short":              {`{"id":"A-1","aff`, "unexpected end"},
		"no object":              {`["A-1"]`, "cannot unmarshal array"},
		"no id":                  {`{}`, "no id"},
		"long id":                {rec(strings.Repeat("A", 201)), "longer than 200 bytes"},
		"path as id":             {rec("../../etc/passwd"), "a character that no id has"},
		"blank in id":            {rec("A 1"), "a character that no id has"},
		"id of other letters":    {rec("СVE-2024-1"), "a character that no id has"},
		"bad time":               {rec("A-1", `"withdrawn":"yesterday"`), "is not RFC 3339"},
		"deep":                   {strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70), "nested deeper than 64"},
		"too many aliases":       {rec("A-1", `"aliases":[`+many(maxIDs+1, `"B"`)+`]`), "5001 aliases"},
		"too many packages":      {rec("A-1", `"affected":[`+many(maxAffected+1, `{}`)+`]`), "affects 20001 packages"},
		"too many events":        {events(many(maxEvents+1, `{"introduced":"1"}`)), "5001 events"},
		"too many ranges":        {entry(`"ranges":[` + many(maxRanges+1, `{"type":"GIT"}`) + `]`), "2001 ranges"},
		"too many versions":      {entry(`"versions":[` + many(maxVersions+1, `"1"`) + `]`), "50001 versions"},
		"too large":              {`{"id":"` + strings.Repeat("A", MaxRaw), "larger than 8 MiB"},
		"unknown range":          {entry(`"ranges":[{"type":"CIRCLE","events":[{"introduced":"0"}]}]`), `type "CIRCLE" is not known`},
		"no introduction":        {events(`{"fixed":"1"}`), "no event introduces"},
		"no events":              {events(``), "no event introduces"},
		"event of another age":   {events(`{"introduced":"0"},{"repaired":"1"}`), "events[1] says nothing"},
		"events of another type": {entry(`"ranges":[{"type":"SEMVER","events":{}}]`), "reading events"},
		"long version":           {events(`{"introduced":"` + strings.Repeat("1", 251) + `"}`), "longer than 250 bytes"},
		"terminal codes":         {events(`{"introduced":"1\u001b[2J"}`), "control character"},
		"terminal codes in name": {rec("A-1", `"affected":[{"package":{"ecosystem":"npm","name":"x\u0007"},"versions":["1"]}]`), "control character"},
	} {
		if _, err := ParseRecord([]byte(tt.raw)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
}

func TestSummaries(t *testing.T) {
	for _, tt := range []struct{ summary, details, want string }{
		{"Plain", "details", "Plain"},
		{"", "\n# Heading\nmore", "Heading"},
		{"", "First line.\r\nSecond.", "First line."},
		{"tab\tand\u202eturn", "", "tab and turn"},
		{strings.Repeat("word ", 102) + "wo", "", strings.Repeat("word ", 102) + "wo"},
		{strings.Repeat("word ", 200), "", strings.TrimSpace(strings.Repeat("word ", 98)) + "… (510 bytes more)"},
		{"", strings.Repeat("ä", 300), strings.Repeat("ä", 246) + "… (108 bytes more)"},
	} {
		got := summaryOf(tt.summary, tt.details)
		if got != tt.want || len(got) > maxSummary {
			t.Errorf("summary of %.20q, %.20q is %q (%d bytes), want %q", tt.summary, tt.details, got, len(got), tt.want)
		}
	}
}

// Every record of the excerpt is readable, and packs to what it was.
func TestExcerpt(t *testing.T) {
	n := 0
	excerpt(t, func(ecosystem, name string, raw []byte) {
		r, err := ParseRecord(raw)
		if err != nil {
			t.Errorf("%s/%s: %v", ecosystem, name, err)
			return
		}
		n++
		if r.ID+".json" != name {
			t.Errorf("%s/%s calls itself %s", ecosystem, name, r.ID)
		}
		got, err := Unpack(r.Pack())
		if err != nil {
			t.Errorf("%s: %v", r.ID, err)
			return
		}
		r.Modified, r.Published, r.Withdrawn = time.Time{}, r.Published.Truncate(time.Second), r.Withdrawn.Truncate(time.Second)
		if d := cmp.Diff(r, got); d != "" {
			t.Errorf("%s unpacked (-packed +unpacked):\n%s", r.ID, d)
		}
	})
	if n < 400 {
		t.Errorf("only %d records in the excerpt", n)
	}
}

func TestRatings(t *testing.T) {
	sev := func(typ, score string) severity { return severity{looseString(typ), looseString(score)} }
	for i, tt := range []struct {
		list  []severity
		specs []specifics
		want  string // level score [vendor]
	}{
		{want: " 0"},
		{list: []severity{sev("CVSS_V2", "AV:N/AC:L/Au:N/C:C/I:C/A:C")}, want: "high 10"},
		{list: []severity{sev("CVSS_V2", "(AV:L/AC:H/Au:N/C:P/I:N/A:N)")}, want: "low 1.2"},
		{list: []severity{sev("CVSS_V3", "CVSS:3.0/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:L/A:N")}, want: "medium 4.2"},
		{list: []severity{sev("CVSS_V3", cvss98)}, want: "critical 9.8"},
		{list: []severity{sev("CVSS_V3", "CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N")}, want: "negligible 0"},
		{list: []severity{sev("CVSS_V3", cvss98), sev("CVSS_V4", "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:H/SC:N/SI:N/SA:N")}, want: "high 8.7"},
		{list: []severity{sev("CVSS_V4", "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H")}, want: "critical 10"},
		{list: []severity{sev("CVSS_V3", "CVSS:3.1/AV:N"), sev("CVSS_V3", "CVSS:9.9/AV:N"), sev("CVSS_V3", strings.Repeat("A", 400))}, want: " 0"},
		{specs: []specifics{{Severity: "MODERATE"}}, want: "medium 0"},
		{specs: []specifics{{Severity: "Unknown"}}, want: " 0"},
		{list: []severity{sev("CVSS_V3", cvss53)}, specs: []specifics{{Severity: "CRITICAL"}}, want: "medium 5.3"},
		{specs: []specifics{{CVSS: looseString(cvss75), Informational: "unsound"}}, want: "high 7.5"},
		{specs: []specifics{{Informational: "unmaintained"}}, want: "negligible 0"},
		{specs: []specifics{{Informational: "unsound"}}, want: "low 0"},
		{list: []severity{sev("Ubuntu", "medium"), sev("CVSS_V3", cvss98)}, want: "medium 9.8 vendor"},
		{list: []severity{sev("CVSS_V3", cvss98)}, specs: []specifics{{Urgency: "unimportant"}}, want: "negligible 9.8 vendor"},
		{list: []severity{sev("CVSS_V3", cvss98)}, specs: []specifics{{Urgency: "not yet assigned"}}, want: "critical 9.8"},
		{specs: []specifics{{Urgency: "high**"}}, want: "high 0 vendor"},
	} {
		r := rate(tt.list, tt.specs...)
		got := fmt.Sprintf("%s %g", r.Level, r.Score)
		if r.Vendor {
			got += " vendor"
		}
		if got != tt.want {
			t.Errorf("%d: rating is %q, want %q", i, got, tt.want)
		}
	}
}

// TestUrgencyOfAnother: what a distribution says of its own package does not
// lower the rating of a package that it does not make.
func TestUrgencyOfAnother(t *testing.T) {
	for ecosystem, want := range map[string]evidence.Severity{"Go": "", "Debian:12": evidence.Negligible} {
		r, err := ParseRecord([]byte(`{"id":"X-1","modified":"2026-01-01T00:00:00Z","database_specific":{"severity":"HIGH"},
			"affected":[{"package":{"ecosystem":"` + ecosystem + `","name":"net"},"ecosystem_specific":{"urgency":"unimportant"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Affected[0].Rating.Level; got != want {
			t.Errorf("%s: rated %q, want %q", ecosystem, got, want)
		}
		if r.Rating.Level != evidence.High {
			t.Errorf("the record is rated %q", r.Rating.Level)
		}
	}
}
