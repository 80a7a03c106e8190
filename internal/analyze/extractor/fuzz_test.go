package extractor

import (
	"context"
	"testing"

	"github.com/bonded-dev/bonded/internal/analyze"
)

// wantedBy names a path for each extractor that reads content of its own form.
var wantedBy = map[string]string{
	"apk": "lib/apk/db/installed", "dpkg": "var/lib/dpkg/status", "go-binary": "bin/x", "rust-binary": "bin/x",
	"npm": "node_modules/a/package.json", "npm-lock": "package-lock.json", "pnpm-lock": "pnpm-lock.yaml", "yarn-lock": "yarn.lock",
	"python": "x.dist-info/METADATA", "python-archive": "x.whl", "gem": "specifications/x.gemspec", "java": "x-1.0.jar",
	"nuget": "x.deps.json", "composer": "vendor/composer/installed.json", "apk-files": "lib/apk/db/installed", "dpkg-files": "var/lib/dpkg/info/x.list",
}

// FuzzExtract: no content makes an extractor panic. An Analyzer would catch it,
// but then the file is a gap.
func FuzzExtract(f *testing.F) {
	for name, content := range map[string][]byte{
		"apk": []byte(apkText), "dpkg": []byte(dpkgText), "python": []byte(pythonText),
		"go-binary": elfWith(".go.buildinfo", []byte("\xff Go buildinf:\x08\x02")), "rust-binary": elfWith(rustSection, deflated(`{"packages":[]}`)),
		"npm": []byte(`{"name":"@a/b","version":"1","license":{"type":"MIT"}}`), "npm-lock": []byte(`{"packages":{"node_modules/a":{"version":"1"}}}`),
		"pnpm-lock": []byte("lockfileVersion: '9.0'\npackages:\n  a@1.2.3: {}\n"), "yarn-lock": []byte("a@^1:\n  version \"1\"\n"),
		"gem": []byte("Gem::Specification.new do |s|\n  s.name = \"rake\"\n  s.version = \"1\"\nend\n"), "java": []byte("PK\x05\x06"),
		"nuget": []byte(`{"runtimeTarget":{},"libraries":{"a/1":{"type":"package"}}}`), "composer": []byte(`[{"name":"a/b","version":"1"}]`),
		"dpkg-files": []byte("/.\n/usr/bin/x\n"), "python-archive": []byte("PK\x03\x04"), "apk-files": []byte("F:usr\nR:x\n"),
	} {
		f.Add(name, content)
	}
	extractors := map[string]analyze.Extractor{}
	for _, x := range All() {
		extractors[x.Info().Name] = x
	}
	claimers := map[string]analyze.Claimer{}
	for _, c := range Claimers() {
		claimers[c.Info().Name] = c
	}
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		file := analyze.NewFile(wantedBy[name], 0o755, content)
		if x, ok := extractors[name]; ok {
			_, _ = x.Extract(context.Background(), file) // any error will do
		}
		if c, ok := claimers[name]; ok {
			_ = c.Claims(context.Background(), file, func(string) {})
		}
	})
}

// TestWantedBy: the fuzz target knows every extractor, by a path that it wants.
func TestWantedBy(t *testing.T) {
	for _, x := range All() {
		if d, ok := x.(database); ok && len(d.info.Places) > 0 {
			continue // reads no content
		}
		if !x.Wants(wantedBy[x.Info().Name], 0o755) {
			t.Errorf("%s does not want %q", x.Info().Name, wantedBy[x.Info().Name])
		}
	}
	for _, c := range Claimers() {
		if !c.Wants(wantedBy[c.Info().Name], 0o644) {
			t.Errorf("%s does not want %q", c.Info().Name, wantedBy[c.Info().Name])
		}
	}
}

// TestClaims: what OS packages list as theirs.
func TestClaims(t *testing.T) {
	for _, tt := range []struct {
		c       analyze.Claimer
		path    string
		content string
		want    []string
	}{
		{dpkgFiles{}, "var/lib/dpkg/info/x.list", "/.\n/usr\n/usr/bin/x", []string{"/.", "/usr", "/usr/bin/x"}},
		{dpkgFiles{}, "var/lib/dpkg/status.d/x.md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/bin/x\n", []string{"usr/bin/x"}},
		{apkFiles{}, "lib/apk/db/installed", apkText, []string{"etc/motd", "etc/hosts"}},
	} {
		var got []string
		err := tt.c.Claims(context.Background(), analyze.NewFile(tt.path, 0, []byte(tt.content)), func(p string) { got = append(got, p) })
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(tt.want) {
			t.Fatalf("%s: got %q", tt.path, got)
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%s: got %q, want %q", tt.path, got[i], tt.want[i])
			}
		}
	}
}
