package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/config"
	"github.com/google/go-cmp/cmp"
)

// write puts text into a file of its own and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "bonded.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

var home = []string{"HOME=/home/ann"}

func TestEmptyIsDefault(t *testing.T) {
	want := config.Default()
	want.Data = "/home/ann/.local/share/bonded"
	for name, text := range map[string]string{"empty": "", "comment": "# nothing\n", "null": "~\n", "start": "---\n", "null sections": "tls:\nlimits:\n"} {
		got, err := config.Load(config.Source{File: write(t, text), Env: home})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestLoad(t *testing.T) {
	file := write(t, `
listen: 127.0.0.1:8443
data: state
tls: {plain_http: true}
limits: {blob: 10GiB}
gates: {strict: gates/strict.yaml}
zones:
  - {name: dev, gate: strict}
  - {name: production, from: [dev]}
feeds:
  - {name: local, dir: osv, interval: 0s}
  - {name: osv, url: "https://osv.example"}
database:
  postgres: {url_file: /run/secrets/pg}
`)
	dir := filepath.Dir(file)
	got, err := config.Load(config.Source{
		File:     file,
		Env:      append(home, "BONDED_LIMITS_IDLE=7d", "BONDED_LOG_LEVEL=debug", "BONDED_DATABASE_POSTGRES_CONNECTIONS=8", "BONDED_URL=for the client"),
		Override: func(c *config.Config) { c.Log.Level = "warn" },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	none := config.Duration(0)
	want.Listen, want.Data, want.TLS.Off = "127.0.0.1:8443", config.Path(dir+"/state"), true
	want.Limits.Blob, want.Limits.Idle = 10<<30, config.Duration(7*24*time.Hour)
	want.Gates = map[string]config.Path{"strict": config.Path(dir + "/gates/strict.yaml")}
	want.Zones = []config.Zone{{Name: "dev", Gate: "strict"}, {Name: "production", From: []string{"dev"}}}
	want.Feeds = []config.Feed{{Name: "local", Dir: config.Path(dir + "/osv"), Interval: &none}, {Name: "osv", URL: "https://osv.example"}}
	want.Database.Postgres = &config.Postgres{URLFile: "/run/secrets/pg", Connections: 8}
	want.Log.Level = "warn"
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Error(diff)
	}
	if got.Feeds[0].Every() != 0 || got.Feeds[1].Every() != time.Hour {
		t.Errorf("intervals are %v and %v", got.Feeds[0].Every(), got.Feeds[1].Every())
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		env        []string
		want       string // "LINE:COLUMN: text" when a file says it, else the text
	}{
		{name: "unknown key", text: "listen: :1\nlisten_on: :2\n", want: `2:1: unknown field "listen_on"`},
		{name: "unknown key in a section", text: "tls:\n  certificate: x\n", want: `2:3: unknown field "certificate"`},
		{name: "same key twice", text: "listen: :1\nlisten: :2\n", want: `2:1: mapping key "listen" already defined`},
		{name: "two documents", text: "listen: :1\n---\nlisten: :2\n", want: "holds 2 documents"},
		{name: "no YAML", text: "listen: [\n", want: "1:9:"},
		{name: "wrong kind", text: "listen: {a: b}\n", want: "1:9:"},
		{name: "no size", text: "limits:\n  blob: lots\n", want: `2:9: "lots" is no size`},
		{name: "no duration", text: "drain: soon\n", want: `1:8: "soon" is no length of time`},
		{name: "no duration in a list", text: "feeds:\n- {name: a, dir: b, interval: [x]}\n", want: `2:31: "[x]" is no length of time`},
		{name: "drain", text: "drain: 1h\n", want: "1:8: drain: is 1h, at most 10m"},
		{name: "address", text: "listen: 8443\n", want: `1:9: listen: "8443" is no address`},
		{name: "port", text: "listen: :99999\n", want: `port "99999"`},
		{name: "url with path", text: "url: https://a/b\n", want: "1:6: url: "},
		{name: "plain url", text: "url: http://a\n", want: "contradicts tls.plain_http"},
		{name: "cert alone", text: "tls:\n  cert: a\n", want: "2:9: tls.cert: contradicts tls.key: one is set without the other"},
		{name: "off with cert", text: "listen: 127.0.0.1:1\ntls: {plain_http: true, cert: a, key: b}\n", want: "tls.plain_http: contradicts tls.cert"},
		{name: "off on all interfaces", text: "tls: {plain_http: true}\n", want: "tls.plain_http: contradicts listen"},
		{name: "off on a name", text: "listen: a.example:1\ntls: {plain_http: true}\n", want: "tls.plain_http: contradicts listen"},
		{name: "hosts", text: "tls: {hosts: [ok.example, \"*\"]}\n", want: `tls.hosts[1]: "*"`},
		{name: "two databases", text: "database: {sqlite: {}, postgres: {url_file: a}}\n", want: "database.sqlite: contradicts database.postgres"},
		{name: "two urls", text: "database: {postgres: {url: \"postgres://a\", url_file: a}}\n", want: "database.postgres.url: contradicts database.postgres.url_file"},
		{name: "password", text: "database: {postgres: {url: \"postgres://a:b@c/d\"}}\n", want: "holds a password"},
		{name: "no database", text: "database: {postgres: {}}\n", want: "neither url nor url_file"},
		{name: "two contents", text: "content: {disk: {}, s3: {endpoint: \"https://a\", bucket: b, access_key_file: c, secret_key_file: d}}\n", want: "content.disk: contradicts content.s3"},
		{name: "s3 without bucket", text: "content: {s3: {endpoint: \"https://a\", access_key_file: c, secret_key_file: d}}\n", want: "1:15: content.s3: bucket is missing"},
		{name: "s3 over http", text: "content: {s3: {endpoint: \"http://a\", bucket: b, access_key_file: c, secret_key_file: d}}\n", want: "loopback address only"},
		{name: "zone twice", text: "zones: [{name: a}, {name: a}]\n", want: "zones[1]: contradicts zones[0]: both are named a"},
		{name: "zone from nowhere", text: "zones: [{name: a, from: [b]}]\n", want: `zones[0].from[0]: "b" is no zone`},
		{name: "zone from itself", text: "zones: [{name: a, from: [a]}]\n", want: "not promoted from itself"},
		{name: "zone name", text: "zones: [{name: A}]\n", want: `zones[0]: "A" is no name`},
		{name: "sandbox", text: "zones: [{name: sandbox}]\n", want: "for development servers"},
		{name: "feed without place", text: "feeds: [{name: a}]\n", want: "neither url nor dir"},
		{name: "feed from two places", text: "feeds: [{name: a, url: \"https://a\", dir: b}]\n", want: "feeds[0].url: contradicts feeds[0].dir"},
		{name: "feed of another", text: "feeds: [{name: loaded, dir: a}]\n", want: "what bonded feed load loads"},
		{name: "feed too often", text: "feeds: [{name: a, dir: b, interval: 1s}]\n", want: "want 0s or at least 1m"},
		{name: "lease", text: "limits: {lease: 1s}\n", want: "limits.lease: is 1s, at least 1m"},
		{name: "budget", text: "analysis: {ratio: 0, file: 1}\n", want: "analysis.file: is 1, at least 1MiB"},
		{name: "database file", text: "database: {sqlite: {path: /x/meta.sqlite}}\n", want: "is not named bonded.db"},
		{name: "level", text: "log: {level: loud}\n", want: `log.level: "loud"`},
		{name: "sample", text: "trace: {sample: .nan}\n", want: "trace.sample: is NaN"},
		{name: "metrics on the same address", text: "listen: :1\nmetrics: {listen: \":1\"}\n", want: "metrics.listen: contradicts listen"},
		{name: "variable", env: []string{"BONDED_LOG_LEVLE=info"}, want: "BONDED_LOG_LEVLE: names no field of section log"},
		{name: "value of a variable", env: []string{"BONDED_LIMITS_UPLOADS=x"}, want: `BONDED_LIMITS_UPLOADS: "x" is no whole number`},
		{name: "variable out of bounds", env: []string{"BONDED_LIMITS_UPLOADS=0"}, want: "limits.uploads: is 0, at least 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := write(t, tc.text)
			_, err := config.Load(config.Source{File: file, Env: append(home, tc.env...)})
			if !errors.Is(err, config.ErrInvalid) {
				t.Fatalf("error %v does not match ErrInvalid", err)
			}
			if got := strings.ReplaceAll(err.Error(), file+":", ""); !strings.Contains(got, tc.want) {
				t.Errorf("error is\n%s\nwant in it\n%s", got, tc.want)
			}
		})
	}
}

func TestLoadWithoutFile(t *testing.T) {
	c, err := config.Load(config.Source{Env: []string{"XDG_DATA_HOME=/x", "HOME=/h"}})
	if err != nil || c.Data != "/x/bonded" {
		t.Errorf("data is %v, %v", c, err)
	}
	if _, err := config.Load(config.Source{File: "/does/not/exist", Env: home}); !errors.Is(err, os.ErrNotExist) || errors.Is(err, config.ErrInvalid) {
		t.Errorf("a missing file gives %v", err)
	}
	big := write(t, strings.Repeat("#", 2<<20))
	if _, err := config.Load(config.Source{File: big, Env: home}); err == nil {
		t.Error("a file of 2 MiB was read")
	}
}

func TestSizeAndDuration(t *testing.T) {
	for text, want := range map[string]string{"0": "0", "1024": "1KiB", "1000": "1000", "64GiB": "64GiB", "2 MB": "2000000", "1536MiB": "1536MiB"} {
		var s config.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s.String() != want {
			t.Errorf("%q is %s, %v; want %s", text, s, err, want)
		}
	}
	for _, text := range []string{"", "-1", "9999999999TiB", "1.5GiB", "GiB", "1 XB", "0x10"} {
		var s config.Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %s", text, s)
		}
	}
	for text, want := range map[string]string{"90s": "1m30s", "7d": "168h", "0s": "0s", "1h30m": "1h30m", "10m": "10m"} {
		var d config.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.String() != want {
			t.Errorf("%q is %s, %v; want %s", text, d, err, want)
		}
	}
	for _, text := range []string{"", "-1s", "1", "d", "-1d", "99999999d"} {
		var d config.Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %s", text, d)
		}
	}
}

func TestReadSecret(t *testing.T) {
	for text, want := range map[string]string{"s3cret\n": "s3cret", "s3cret": "s3cret", "a b\r\n": "a b"} {
		if got, err := config.Path(write(t, text)).ReadSecret(); err != nil || got != want {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "\n", "a\nb\n", strings.Repeat("x", 1<<17)} {
		if got, err := config.Path(write(t, text)).ReadSecret(); !errors.Is(err, config.ErrSecret) {
			t.Errorf("%.10q is %.10q, %v", text, got, err)
		}
	}
	if _, err := config.Path("/does/not/exist").ReadSecret(); !errors.Is(err, config.ErrSecret) {
		t.Errorf("a missing file gives %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("listen: :1\n"))
	f.Add([]byte("zones: [{name: a, from: [b]}]\nfeeds:\n- {name: x, dir: y, interval: 1d}\n"))
	f.Add([]byte("a: &a [1]\nb: *a\n---\n"))
	f.Add([]byte("tls:\n  <<: {plain_http: true}\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		file := filepath.Join(dir, "c.yaml")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Source{File: file, Env: home})
		if err == nil && len(c.Check()) > 0 {
			t.Errorf("accepted with problems: %v", c.Check())
		}
		if err != nil && !errors.Is(err, config.ErrInvalid) {
			t.Errorf("error of another kind: %v", err)
		}
	})
}

// TestOldFiles: a configuration that was once good stays good.
func TestOldFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "old", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no old configurations: %v", err)
	}
	for _, f := range files {
		if _, err := config.Load(config.Source{File: f, Env: home}); err != nil {
			t.Errorf("%v", err)
		}
	}
}
