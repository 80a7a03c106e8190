package extractor

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"context"
	"debug/buildinfo"
	"encoding/binary"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/analyze/analyzetest"
	"github.com/bonded-dev/bonded/internal/inventory"
)

func only(x analyze.Extractor) func() analyze.Extractor {
	return func() analyze.Extractor { return x }
}

func TestAll(t *testing.T) {
	names := map[string]bool{}
	for _, x := range All() {
		if names[x.Info().Name] {
			t.Errorf("%s twice", x.Info().Name)
		}
		names[x.Info().Name] = true
	}
	mod, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := "github.com/google/osv-scalibr v" + scalibrVersion + "\n"; !strings.Contains(string(mod), want) {
		t.Errorf("go.mod does not have %q, which stored facts would say", want)
	}
}

const dpkgText = `Package: adduser
Status: install ok installed
Priority: important
Section: admin
Installed-Size: 686
Maintainer: Debian Adduser Developers <adduser@packages.debian.org>
Architecture: all
Multi-Arch: foreign
Version: 3.134
Depends: passwd
Conffiles:
 /etc/adduser.conf 42c3bb93c30d8a1d0d2a1d3c9c21e8a3
Description: add and remove users and groups
 This package includes the 'adduser' and 'deluser' commands.
 .
 Package: not-a-field

Package: libssl3
Status: hold ok installed
Architecture: amd64
Source: openssl
Version: 3.0.11-1~deb12u2

Package: libgcc-s1
Status: install ok half-configured
Architecture: amd64
Source: gcc-12 (12.2.0-14)
Version: 12.2.0-14+b1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: never
Status: unknown ok not-installed
Architecture: amd64

Package: base-files
Status: install ok installed
Source: base-files
Architecture: amd64
Version: 1:12.4+deb12u5`

func TestDpkg(t *testing.T) {
	want := []inventory.Package{
		{Type: "deb", Name: "adduser", Version: "3.134", Arch: "all"},
		{Type: "deb", Name: "libssl3", Version: "3.0.11-1~deb12u2", Arch: "amd64", Source: "openssl"},
		{Type: "deb", Name: "libgcc-s1", Version: "12.2.0-14+b1", Arch: "amd64", Source: "gcc-12", SourceVer: "12.2.0-14"},
		{Type: "deb", Name: "base-files", Version: "1:12.4+deb12u5", Arch: "amd64"},
	}
	distroless := "Package: tzdata\nVersion: 2024a-0+deb12u1\nArchitecture: all\nDescription: zones\n more\n"
	analyzetest.Run(t, analyzetest.Suite{
		New: only(dpkg{}),
		Good: []analyzetest.Case{
			{Path: "var/lib/dpkg/status", Content: []byte(dpkgText), Want: want},
			{Name: "ends in empty lines", Path: "var/lib/dpkg/status", Content: []byte(dpkgText + "\n\n\n"), Want: want},
			{Name: "empty", Path: "var/lib/dpkg/status", Content: nil},
			{Path: "var/lib/dpkg/status.d/tzdata", Content: []byte(distroless), Want: []inventory.Package{
				{Type: "deb", Name: "tzdata", Version: "2024a-0+deb12u1", Arch: "all"},
			}},
			{Path: "usr/lib/opkg/status", Content: []byte("Package: libc\nVersion: 1.2\nStatus: install user installed\nArchitecture: x86\n"),
				Want: []inventory.Package{{Type: "deb", Name: "libc", Version: "1.2", Arch: "x86"}}},
		},
		Damaged: []analyzetest.Case{
			{Name: "no text", Path: "var/lib/dpkg/status", Content: []byte("\x00\x01\x02")},
			{Name: "page of zeros", Path: "var/lib/dpkg/status", Content: []byte(dpkgText[:300] + "\n\n" + strings.Repeat("\x00", 4096)),
				Want: want[:1]},
			{Name: "zeros after packages", Path: "var/lib/dpkg/status", Content: []byte(dpkgText + "\n\n" + strings.Repeat("\x00", 4096)), Want: want},
			{Name: "begins folded", Path: "var/lib/dpkg/status", Content: []byte(" folded\nPackage: a\n")},
			{Name: "no state", Path: "var/lib/dpkg/status", Content: []byte("Package: a\nVersion: 1\n")},
			{Name: "no version", Path: "var/lib/dpkg/status", Content: []byte("Package: a\nStatus: install ok installed\n")},
			{Name: "no name", Path: "var/lib/dpkg/status", Content: []byte("Version: 1\nStatus: install ok installed\n")},
			{Name: "two in one", Path: "var/lib/dpkg/status", Content: []byte("Package: a\nVersion: 1\nStatus: install ok installed\nPackage: b\nVersion: 1\nStatus: install ok installed\n")},
			{Name: "open bracket", Path: "var/lib/dpkg/status", Content: []byte("Package: a\nVersion: 1\nStatus: install ok installed\nSource: b (1\n")},
			{Name: "distroless without version", Path: "var/lib/dpkg/status.d/a", Content: []byte("Package: a\n")},
		},
		Unwanted: []string{"var/lib/dpkg/status-old", "var/lib/dpkg/status.d/a.md5sums", "var/lib/dpkg/status.d/a/b", "a/var/lib/dpkg/status"},
	})
}

const apkText = `C:Q1hdUpqRv5mYgJEqW52UmVsvmeysE=
P:alpine-baselayout
V:3.4.3-r2
A:x86_64
S:8911
T:Alpine base dir structure and init scripts
L:GPL-2.0-only
o:alpine-baselayout
F:dev
F:etc
R:motd
a:0:0:644
Z:Q1SLkS9hBidUbPwwrw+XR0Whv3ww8=
R:hosts

P:libssl3
V:3.1.4-r5
A:x86_64
L:Apache-2.0
o:openssl

`

func TestApk(t *testing.T) {
	analyzetest.Run(t, analyzetest.Suite{
		New: only(apk{}),
		Good: []analyzetest.Case{
			{Path: "lib/apk/db/installed", Content: []byte(apkText), Want: []inventory.Package{
				{Type: "apk", Name: "alpine-baselayout", Version: "3.4.3-r2", Arch: "x86_64", Licenses: []string{"GPL-2.0-only"}},
				{Type: "apk", Name: "libssl3", Version: "3.1.4-r5", Arch: "x86_64", Source: "openssl", Licenses: []string{"Apache-2.0"}},
			}},
			{Path: "usr/lib/apk/db/installed", Content: []byte("\n")},
		},
		Damaged: []analyzetest.Case{
			{Name: "no text", Path: "lib/apk/db/installed", Content: []byte("SQLite format 3\x00")},
			{Name: "no version", Path: "lib/apk/db/installed", Content: []byte("P:a\n")},
			{Name: "no name", Path: "lib/apk/db/installed", Content: []byte("V:1\n")},
			{Name: "two in one", Path: "lib/apk/db/installed", Content: []byte("P:a\nV:1\nP:b\nV:1\n")},
		},
		Unwanted: []string{"lib/apk/db/scripts.tar", "home/lib/apk/db/installed"},
	})
}

// TestGoBinary reads a real program.
func TestGoBinary(t *testing.T) {
	prog := filepath.Join(t.TempDir(), "prog")
	if out, err := exec.Command("go", "build", "-o", prog, "./testdata/prog").CombinedOutput(); err != nil {
		t.Fatalf("building a program: %v\n%s", err, out)
	}
	content, err := os.ReadFile(prog)
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(prog)
	if err != nil || len(info.Deps) != 1 || info.Deps[0].Path != "golang.org/x/mod" {
		t.Fatalf("the program says %v, %v", info, err)
	}
	want := []inventory.Package{
		{Type: "golang", Name: "stdlib", Version: strings.TrimPrefix(runtime.Version(), "go"), Ecosystem: "Go"},
		goModule("github.com/bonded-dev/bonded", info.Main.Version),
		{Type: "golang", Name: "golang.org/x/mod", Version: strings.TrimPrefix(info.Deps[0].Version, "v"), Ecosystem: "Go"},
	}
	damaged := bytes.Replace(content, []byte("\xff Go buildinf:"), []byte("\xff Xo buildinf:"), -1)
	analyzetest.Run(t, analyzetest.Suite{
		New: only(goBinary{}),
		Good: []analyzetest.Case{
			{Path: "usr/bin/x", Mode: 0o755, Content: content, Want: want},
			{Name: "script", Path: "usr/bin/x", Mode: 0o755, Content: []byte("#!/bin/sh\n")},
			{Name: "ELF without sections", Path: "usr/bin/x", Mode: 0o755, Content: content[:64]},
			{Name: "other program", Path: "usr/bin/x", Mode: 0o755, Content: elfWith(".text", []byte("code"))},
			{Name: "empty", Path: "x.so", Content: nil},
		},
		Damaged:  []analyzetest.Case{{Path: "usr/bin/x", Mode: 0o755, Content: damaged}},
		Unwanted: []string{"usr/bin/x", "usr/share/doc/x.txt"},
	})
}

func TestGoVersion(t *testing.T) {
	for v, want := range map[string]string{
		"go1.22.1": "1.22.1", "go1.20": "1.20", "go1.22.1 X:boringcrypto": "1.22.1", "go1.21rc2": "1.21.0-rc.2",
		"go1.9.2beta1": "1.9.2-beta.1", "devel go1.24-abc Mon": "", "": "", "devel +a813be86df": "",
	} {
		if got := goVersion(v); got != want {
			t.Errorf("%q: got %q, want %q", v, got, want)
		}
	}
}

func TestGoReplaced(t *testing.T) {
	m := &debug.Module{Path: "a.example/m", Version: "v1.0.0"}
	for want, r := range map[string]*debug.Module{
		"a.example/m@1.0.0": nil, "b.example/m@1.1.0": {Path: "b.example/m", Version: "v1.1.0"}, "a.example/m@": {Path: "../m"},
	} {
		m.Replace = r
		if p := goReplaced(m); p.Name+"@"+p.Version != want {
			t.Errorf("got %s@%s, want %s", p.Name, p.Version, want)
		}
	}
}

// elfWith makes a 64-bit ELF file with one section.
func elfWith(name string, content []byte) []byte {
	names := "\x00" + name + "\x00.shstrtab\x00"
	var b bytes.Buffer
	le := binary.LittleEndian
	contentAt, namesAt := 64, 64+len(content)
	head := make([]byte, 64)
	copy(head, "\x7fELF\x02\x01\x01")
	le.PutUint16(head[16:], 2)  // executable
	le.PutUint16(head[18:], 62) // x86-64
	le.PutUint32(head[20:], 1)
	le.PutUint64(head[40:], uint64(namesAt+len(names)))
	le.PutUint16(head[52:], 64)
	le.PutUint16(head[54:], 56)
	le.PutUint16(head[58:], 64)
	le.PutUint16(head[60:], 3) // sections
	le.PutUint16(head[62:], 2) // the one with names
	b.Write(head)
	b.Write(content)
	b.WriteString(names)
	section := func(nameAt, typ uint32, at, size int) {
		s := make([]byte, 64)
		le.PutUint32(s, nameAt)
		le.PutUint32(s[4:], typ)
		le.PutUint64(s[24:], uint64(at))
		le.PutUint64(s[32:], uint64(size))
		b.Write(s)
	}
	section(0, 0, 0, 0)
	section(1, 1, contentAt, len(content))
	section(uint32(len(name))+2, 3, namesAt, len(names))
	return b.Bytes()
}

func deflated(s string) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close() // memory takes all
	return b.Bytes()
}

func TestRustBinary(t *testing.T) {
	doc := `{"packages":[{"name":"app","version":"0.1.0","source":"local","root":true},
		{"name":"adler","version":"1.0.2","source":"crates.io"},{"name":"cc","version":"1.0.79","source":"crates.io","kind":"build"}]}`
	analyzetest.Run(t, analyzetest.Suite{
		New: only(rustBinary{}),
		Good: []analyzetest.Case{
			{Path: "app/x", Mode: 0o755, Content: elfWith(rustSection, deflated(doc)), Want: []inventory.Package{
				{Type: "cargo", Name: "app", Version: "0.1.0", Ecosystem: "crates.io"},
				{Type: "cargo", Name: "adler", Version: "1.0.2", Ecosystem: "crates.io"},
			}},
			{Name: "other program", Path: "app/x", Mode: 0o755, Content: elfWith(".text", []byte("code"))},
		},
		Damaged: []analyzetest.Case{
			{Name: "not compressed", Path: "app/x", Mode: 0o755, Content: elfWith(rustSection, []byte(doc))},
			{Name: "no JSON", Path: "app/x", Mode: 0o755, Content: elfWith(rustSection, deflated("packages"))},
			{Name: "no version", Path: "app/x", Mode: 0o755, Content: elfWith(rustSection, deflated(`{"packages":[{"name":"a"}]}`))},
			{Name: "bomb", Path: "app/x", Mode: 0o755, Content: elfWith(rustSection, deflated(strings.Repeat(" ", maxRustDocument+1)))},
		},
		Unwanted: []string{"app/x"},
	})
}

func npm(scope, name, version string, licenses ...string) inventory.Package {
	return inventory.Package{Type: "npm", Namespace: scope, Name: name, Version: version, Licenses: licenses, Ecosystem: "npm"}
}

func TestNodeModule(t *testing.T) {
	analyzetest.Run(t, analyzetest.Suite{
		New: only(nodeModule{}),
		Good: []analyzetest.Case{
			{Path: "app/node_modules/lodash/package.json", Content: []byte(`{"name":"lodash","version":"4.17.21","license":"MIT","scripts":{"test":"x"}}`),
				Want: []inventory.Package{npm("", "lodash", "4.17.21", "MIT")}},
			{Path: "node_modules/@babel/core/package.json", Content: []byte(`{"name":"@babel/core","version":"7.23.0","license":{"type":"MIT"}}`),
				Want: []inventory.Package{npm("@babel", "core", "7.23.0", "MIT")}},
			{Path: "n/node_modules/a/node_modules/b/package.json", Content: []byte(`{"type":"module"}`)},
			{Path: "usr/share/nodejs/semver/package.json", Content: []byte(`{"name":"semver","version":"7.3.5","license":"ISC"}`),
				Want: []inventory.Package{npm("", "semver", "7.3.5", "ISC")}},
			{Path: "usr/share/nodejs/@npmcli/config/package.json", Content: []byte(`{"name":"@npmcli/config","version":"6.1.0","license":"ISC"}`),
				Want: []inventory.Package{npm("@npmcli", "config", "6.1.0", "ISC")}},
			{Path: "usr/share/nodejs/npm/node_modules/qs/package.json", Content: []byte(`{"name":"qs","version":"6.11.0"}`),
				Want: []inventory.Package{npm("", "qs", "6.11.0")}},
			{Path: "usr/lib/x86_64-linux-gnu/nodejs/iconv/package.json", Content: []byte(`{"name":"iconv","version":"3.0.1","license":"ISC"}`),
				Want: []inventory.Package{npm("", "iconv", "3.0.1", "ISC")}},
			{Path: "usr/lib/nodejs/abbrev/package.json", Content: []byte(`{"name":"abbrev","version":"1.1.1"}`),
				Want: []inventory.Package{npm("", "abbrev", "1.1.1")}},
		},
		Damaged: []analyzetest.Case{
			{Name: "cut", Path: "node_modules/a/package.json", Content: []byte(`{"name":"a","version":`)},
			{Name: "numbers", Path: "node_modules/a/package.json", Content: []byte(`{"name":1,"version":2}`)},
			{Name: "no text", Path: "node_modules/a/package.json", Content: []byte(`{"name":"a\u0000b","version":"1"}`)},
		},
		Unwanted: []string{
			"app/package.json", "node_modules/a/test/package.json", "node_modules/@a/package.json", "node_modules/@a/b/c/package.json",
			"node_modules/package.json", "my_node_modules/a/package.json", "node_modules//package.json", "package.json",
			"usr/share/nodejs/package.json", "usr/share/nodejs//package.json", "usr/share/nodejs/npm/lib/package.json", "usr/share/nodejs/@types/package.json",
			"usr/lib/nodejs/package.json", "usr/lib/x/nodejs/a/package.json", "usr/lib/x86_64-linux-gnu/a/package.json", "opt/usr/share/nodejs/a/package.json",
		},
	})
}

// TestDebianModules: a module that a package of Debian brought is that
// package's; one that somebody put beside it is not.
func TestDebianModules(t *testing.T) {
	blob := analyzetest.Layer(t,
		analyzetest.Case{Path: "usr/share/nodejs/semver/package.json", Content: []byte(`{"name":"semver","version":"7.3.5"}`)},
		analyzetest.Case{Path: "usr/lib/x86_64-linux-gnu/nodejs/iconv/package.json", Content: []byte(`{"name":"iconv","version":"3.0.1"}`)},
		analyzetest.Case{Path: "usr/share/nodejs/mine/package.json", Content: []byte(`{"name":"mine","version":"1.0.0"}`)},
		analyzetest.Case{Path: "var/lib/dpkg/info/node-semver.list", Content: []byte("/.\n/usr\n/usr/share/nodejs/semver\n/usr/share/nodejs/semver/package.json\n")},
		analyzetest.Case{Path: "var/lib/dpkg/info/node-iconv:amd64.list", Content: []byte("/usr/lib/x86_64-linux-gnu/nodejs/iconv/package.json\n")},
	)
	a := analyze.New(analyze.Options{Extractors: All(), Claimers: Claimers(), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	res, err := a.Layer(context.Background(), bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, f := range res.Layer.Files {
		got[f.Path] = f.Owned
	}
	want := map[string]bool{
		"usr/share/nodejs/semver/package.json": true, "usr/lib/x86_64-linux-gnu/nodejs/iconv/package.json": true, "usr/share/nodejs/mine/package.json": false,
	}
	if diff := cmp.Diff(want, got); diff != "" || res.Layer.Coverage.State != inventory.CoverageFull {
		t.Errorf("%s %+v", diff, res.Layer.Coverage)
	}
}

func TestNpmLock(t *testing.T) {
	v3 := `{"name":"app","lockfileVersion":3,"packages":{
		"":{"name":"app","version":"1.0.0","dependencies":{"a":"^1.0.0"}},
		"node_modules/a":{"version":"1.2.3","resolved":"https://registry.npmjs.org/a/-/a-1.2.3.tgz","dependencies":{"b":"^2"}},
		"node_modules/a/node_modules/@s/b":{"version":"2.0.0"},
		"node_modules/alias":{"name":"real","version":"3.0.0"},
		"node_modules/tool":{"version":"9.9.9","dev":true},
		"node_modules/maybe":{"version":"1.0.0","devOptional":true},
		"node_modules/mine":{"resolved":"packages/mine","link":true},
		"packages/mine":{"version":"0.0.1"},
		"node_modules/git":{"version":"git+ssh://git@github.com/x/y.git#0123","resolved":"git+ssh://"}}}`
	v1 := `{"lockfileVersion":1,"dependencies":{
		"a":{"version":"1.2.3","requires":{"b":"2"},"dependencies":{"@s/b":{"version":"2.0.0"}}},
		"alias":{"version":"npm:@r/real@3.0.0"},"tool":{"version":"9.9.9","dev":true},"folder":{"version":"file:../x"}}}`
	analyzetest.Run(t, analyzetest.Suite{
		New: only(npmLock{}),
		Good: []analyzetest.Case{
			{Path: "app/package-lock.json", Content: []byte(v3), Want: []inventory.Package{
				npm("", "a", "1.2.3"), npm("@s", "b", "2.0.0"), npm("", "real", "3.0.0"), npm("", "maybe", "1.0.0"), npm("", "git", ""),
			}},
			{Path: "app/npm-shrinkwrap.json", Content: []byte(v1), Want: []inventory.Package{
				npm("", "a", "1.2.3"), npm("@s", "b", "2.0.0"), npm("@r", "real", "3.0.0"), npm("", "folder", ""),
			}},
		},
		Damaged: []analyzetest.Case{
			{Name: "cut", Path: "package-lock.json", Content: []byte(v3[:200])},
			{Name: "deep", Path: "package-lock.json", Content: []byte(strings.Repeat(`{"dependencies":{"a":`, 40) + "{}" + strings.Repeat("}}", 40)),
				Want: []inventory.Package{npm("", "a", "")}}, // as far as it went
		},
		Unwanted: []string{"app/node_modules/a/package-lock.json", "node_modules/.package-lock.json", "usr/share/nodejs/a/package-lock.json", "app/package.json"},
	})
}

func TestPnpmLock(t *testing.T) {
	text := `lockfileVersion: '9.0'
packages:
  '@s/b@2.0.0':
    resolution: {integrity: sha512-x}
  a@1.2.3:
    resolution: {integrity: sha512-x}
`
	analyzetest.Run(t, analyzetest.Suite{
		New: pnpmLock,
		Good: []analyzetest.Case{{Path: "app/pnpm-lock.yaml", Content: []byte(text), Want: []inventory.Package{
			npm("", "a", "1.2.3"), npm("@s", "b", "2.0.0"),
		}}},
		Damaged:  []analyzetest.Case{{Path: "app/pnpm-lock.yaml", Content: []byte("packages: [")}},
		Unwanted: []string{"node_modules/a/pnpm-lock.yaml"},
	})
}

func TestYarnLock(t *testing.T) {
	v1 := "# yarn lockfile v1\n\n\na@^1.0.0:\n  version \"1.2.3\"\n  resolved \"https://registry.yarnpkg.com/a/-/a-1.2.3.tgz#x\"\n\n\"@s/b@^2\":\n  version \"2.0.0\"\n"
	v2 := "__metadata:\n  version: 6\n\n\"a@npm:^1.0.0\":\n  version: 1.2.3\n  resolution: \"a@npm:1.2.3\"\n\n\"app@workspace:.\":\n  version: 0.0.0-use.local\n"
	want := []inventory.Package{npm("", "a", "1.2.3"), npm("@s", "b", "2.0.0")}
	analyzetest.Run(t, analyzetest.Suite{
		New: yarnLock,
		Good: []analyzetest.Case{
			{Name: "v1", Path: "app/yarn.lock", Content: []byte(v1), Want: want},
			{Name: "v2", Path: "app/yarn.lock", Content: []byte(v2), Want: want[:1]},
		},
		Damaged: []analyzetest.Case{
			{Name: "no text", Path: "yarn.lock", Content: []byte("\x00\x01")},
			{Name: "begins inside", Path: "yarn.lock", Content: []byte("  version \"1\"\n")},
			{Name: "long line", Path: "yarn.lock", Content: []byte(v1 + strings.Repeat("x", 70<<10) + "\n" + v1)},
		},
		Unwanted: []string{"node_modules/a/yarn.lock"},
	})
}

const pythonText = "Metadata-Version: 2.1\nName: Django\nVersion: 4.2.1\nSummary: A web framework\nLicense: BSD-3-Clause\nRequires-Dist: asgiref\n\nLong text\n"

func pypi(name, version string) inventory.Package {
	return inventory.Package{Type: "pypi", Name: name, Version: version, Ecosystem: "PyPI"}
}

func TestPython(t *testing.T) {
	django := []inventory.Package{pypi("Django", "4.2.1")}
	analyzetest.Run(t, analyzetest.Suite{
		New: python,
		Good: []analyzetest.Case{
			{Path: "usr/lib/python3/site-packages/Django-4.2.1.dist-info/METADATA", Content: []byte(pythonText), Want: django},
			{Path: "usr/lib/python3/dist-packages/x.egg-info", Content: []byte(pythonText), Want: django},
			{Path: "usr/lib/python3/dist-packages/x.egg-info/PKG-INFO", Content: []byte(pythonText), Want: django},
			{Path: "x.egg/EGG-INFO/PKG-INFO", Content: []byte(pythonText), Want: django},
		},
		Damaged: []analyzetest.Case{
			{Name: "empty", Path: "x.dist-info/METADATA"},
			{Name: "no version", Path: "x.dist-info/METADATA", Content: []byte("Name: a\n")},
			{Name: "long line", Path: "x.dist-info/METADATA", Content: []byte("Name: a\nX: " + strings.Repeat("x", 70<<10) + "\nVersion: 1\n")},
		},
		Unwanted: []string{"x.dist-info/RECORD", "METADATA", "PKG-INFO"},
	})
}

// zipped makes an archive; names come before their content. stored leaves
// entries as they are.
func zipped(t *testing.T, stored bool, pairs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		h := &zip.FileHeader{Name: pairs[i], Method: zip.Deflate}
		if stored {
			h.Method = zip.Store
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(pairs[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPythonArchive(t *testing.T) {
	analyzetest.Run(t, analyzetest.Suite{
		New: only(pythonArchive{python()}),
		Good: []analyzetest.Case{
			{Path: "a/Django-4.2.1-py3.whl", Content: zipped(t, false, "Django-4.2.1.dist-info/METADATA", pythonText, "django/x.py", "x"),
				Want: []inventory.Package{pypi("Django", "4.2.1")}},
			{Path: "a/x.egg", Content: zipped(t, true, "EGG-INFO/PKG-INFO", pythonText), Want: []inventory.Package{pypi("Django", "4.2.1")}},
			{Name: "no archive", Path: "a/x.egg", Content: []byte("link to an egg")},
		},
		Damaged: []analyzetest.Case{
			{Name: "cut", Path: "x.whl", Content: zipped(t, true, "EGG-INFO/PKG-INFO", pythonText)[:100]},
			{Name: "bomb", Path: "x.whl", Content: zipped(t, false, "EGG-INFO/PKG-INFO", pythonText, "a.dist-info/METADATA", strings.Repeat("a: b\n", 1<<20)),
				Want: []inventory.Package{pypi("Django", "4.2.1")}},
		},
		Unwanted: []string{"x.zip"},
	})
}

func TestGem(t *testing.T) {
	text := "# -*- encoding: utf-8 -*-\nGem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.0.6\"\nend\n"
	analyzetest.Run(t, analyzetest.Suite{
		New: gem,
		Good: []analyzetest.Case{{Path: "usr/lib/ruby/gems/3.1.0/specifications/rake-13.0.6.gemspec", Content: []byte(text),
			Want: []inventory.Package{{Type: "gem", Name: "rake", Version: "13.0.6", Ecosystem: "RubyGems"}}}},
		Damaged: []analyzetest.Case{
			{Name: "no specification", Path: "specifications/a.gemspec", Content: []byte("\x04\x08u:")},
			{Name: "no version", Path: "specifications/a.gemspec", Content: []byte("Gem::Specification.new do |s|\n  s.name = \"rake\"\nend\n")},
		},
		Unwanted: []string{"gems/rake-13.0.6/rake.gemspec"},
	})
}

func maven(group, artifact, version string) inventory.Package {
	return inventory.Package{Type: "maven", Namespace: group, Name: artifact, Version: version, Ecosystem: "Maven"}
}

func TestJava(t *testing.T) {
	pom := "#Generated by Maven\ngroupId=org.example\nartifactId=lib\nversion=1.2.3\n"
	const pomAt = "META-INF/maven/org.example/lib/pom.properties"
	lib := zipped(t, false, pomAt, pom)
	bundle := zipped(t, false, "META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\nBundle-SymbolicName: org.exam\r\n ple.bundle;singleton:=true\r\nBundle-Version: 7\r\n\r\nName: other\r\n")
	big := zipped(t, false, "x.jar", strings.Repeat("x", maxZipInner+1))
	analyzetest.Run(t, analyzetest.Suite{
		New: only(java{}),
		Good: []analyzetest.Case{
			{Path: "app/lib.jar", Content: lib, Want: []inventory.Package{maven("org.example", "lib", "1.2.3")}},
			{Name: "stored inside", Path: "app/boot.jar", Content: zipped(t, true, "BOOT-INF/lib/lib.jar", string(lib), pomAt, strings.ReplaceAll(pom, "=lib", "=app")),
				Want: []inventory.Package{maven("org.example", "app", "1.2.3"), maven("org.example", "lib", "1.2.3")}},
			{Name: "compressed inside", Path: "app/web.war", Content: zipped(t, false, "WEB-INF/lib/lib.jar", string(lib)), Want: []inventory.Package{maven("org.example", "lib", "1.2.3")}},
			{Name: "script before it", Path: "app/lib.jar", Content: append([]byte("#!/bin/sh\nexec java -jar $0\n"), lib...), Want: []inventory.Package{maven("org.example", "lib", "1.2.3")}},
			{Path: "app/commons-io-2.6.jar", Content: zipped(t, false, "x.class", ""), Want: []inventory.Package{maven("commons-io", "commons-io", "2.6")}},
			{Path: "app/bundle-8.0.jar", Content: bundle, Want: []inventory.Package{maven("org.example.bundle", "bundle", "8.0")}},
			{Name: "nothing known", Path: "app/app.jar", Content: zipped(t, false, "x.class", "")},
			{Name: "unresolved", Path: "app/app.jar", Content: zipped(t, false, pomAt, "groupId=a\nartifactId=b\nversion=${v}\n")},
			{Name: "empty", Path: "app/app.jar"},
		},
		Damaged: []analyzetest.Case{
			{Name: "no archive", Path: "a.jar", Content: []byte("hello")},
			{Name: "damaged inside", Path: "b.war", Content: zipped(t, true, pomAt, pom, "x.jar", "hello"), Want: []inventory.Package{maven("org.example", "lib", "1.2.3")}},
			{Name: "large inside", Path: "c.war", Content: big},
			{Name: "large description", Path: "d.jar", Content: zipped(t, false, pomAt, strings.Repeat("x", maxZipText+1))},
			{Name: "deep", Path: "e.jar", Content: zipped(t, true, "a.jar", string(zipped(t, true, "b.jar", string(zipped(t, true, "c.jar", string(zipped(t, true, "d.jar", string(lib))))))))},
		},
		Unwanted: []string{"a.zip", "jar"},
	})
}

func TestNuget(t *testing.T) {
	text := `{"runtimeTarget":{"name":".NETCoreApp,Version=v8.0"},"libraries":{
		"App/1.0.0":{"type":"project"},"Newtonsoft.Json/13.0.1":{"type":"package","serviceable":true}}}`
	analyzetest.Run(t, analyzetest.Suite{
		New: only(nuget{}),
		Good: []analyzetest.Case{
			{Path: "app/App.deps.json", Content: []byte(text), Want: []inventory.Package{{Type: "nuget", Name: "Newtonsoft.Json", Version: "13.0.1", Ecosystem: "NuGet"}}},
			{Name: "of another tool", Path: "theme/editor.deps.json", Content: []byte(`{"dependencies":["wp"]}`)},
		},
		Damaged: []analyzetest.Case{
			{Name: "cut", Path: "a.deps.json", Content: []byte(text[:90])},
			{Name: "no version", Path: "a.deps.json", Content: []byte(`{"runtimeTarget":{},"libraries":{"A":{"type":"package"}}}`)},
		},
		Unwanted: []string{"app/deps.json.txt"},
	})
}

func TestComposer(t *testing.T) {
	one := `{"name":"monolog/monolog","version":"2.9.1","license":["MIT"]}`
	want := []inventory.Package{{Type: "composer", Namespace: "monolog", Name: "monolog", Version: "2.9.1", Licenses: []string{"MIT"}, Ecosystem: "Packagist"}}
	analyzetest.Run(t, analyzetest.Suite{
		New: only(composer{}),
		Good: []analyzetest.Case{
			{Name: "2", Path: "app/vendor/composer/installed.json", Content: []byte(`{"packages":[` + one + `],"dev":false}`), Want: want},
			{Name: "1", Path: "vendor/composer/installed.json", Content: []byte(`[` + one + `]`), Want: want},
		},
		Damaged: []analyzetest.Case{
			{Name: "neither", Path: "vendor/composer/installed.json", Content: []byte(`{"x":1}`)},
			{Name: "cut", Path: "vendor/composer/installed.json", Content: []byte(`[` + one)},
			{Name: "no vendor", Path: "vendor/composer/installed.json", Content: []byte(`[{"name":"a","version":"1"}]`)},
		},
		Unwanted: []string{"composer/installed.json", "vendor/composer/installed.php"},
	})
}

// TestUnread: that there is a database that nobody reads is a gap.
func TestUnread(t *testing.T) {
	for _, path := range []string{"var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/Packages.db", "var/lib/pacman/local/ALPM_DB_VERSION"} {
		blob := analyzetest.Layer(t, analyzetest.Case{Path: path, Content: []byte("x")})
		res, err := analyzetest.Analyzer(t, All()...).Layer(context.Background(), bytes.NewReader(blob))
		if err != nil {
			t.Fatal(err)
		}
		if c := res.Layer.Coverage; c.State != inventory.CoveragePartial || len(c.Gaps) != 1 || c.Gaps[0].Path != path {
			t.Errorf("%s: got %+v", path, c)
		}
	}
}
