package analyze

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/package-url/packageurl-go"

	"github.com/bonded-dev/bonded/internal/inventory"
)

func TestParseOSRelease(t *testing.T) {
	tests := []struct {
		text string
		want inventory.Distro
	}{
		{"", inventory.Distro{}},
		{"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n", inventory.Distro{ID: "debian", VersionID: "12", Name: "Debian GNU/Linux 12 (bookworm)", Ecosystem: "Debian:12"}},
		{"ID=debian\nPRETTY_NAME=\"Debian GNU/Linux trixie/sid\"", inventory.Distro{ID: "debian", Name: "Debian GNU/Linux trixie/sid"}},
		{"ID=ubuntu\nVERSION_ID=\"22.04\"\nNAME=Ubuntu\nVERSION='22.04 LTS'", inventory.Distro{ID: "ubuntu", VersionID: "22.04", Name: "Ubuntu 22.04 LTS", Ecosystem: "Ubuntu:22.04:LTS"}},
		{"ID=ubuntu\nVERSION_ID=23.10", inventory.Distro{ID: "ubuntu", VersionID: "23.10", Ecosystem: "Ubuntu:23.10"}},
		{"ID=ubuntu\nVERSION_ID=25.04", inventory.Distro{ID: "ubuntu", VersionID: "25.04", Ecosystem: "Ubuntu:25.04"}},
		{"ID=alpine\nVERSION_ID=3.20.1", inventory.Distro{ID: "alpine", VersionID: "3.20.1", Ecosystem: "Alpine:v3.20"}},
		{"ID=alpine\nVERSION_ID=3.21_alpha20240807", inventory.Distro{ID: "alpine", VersionID: "3.21_alpha20240807"}},
		{"ID=wolfi\nVERSION_ID=20230201", inventory.Distro{ID: "wolfi", VersionID: "20230201", Ecosystem: "Wolfi"}},
		{"ID=chainguard", inventory.Distro{ID: "chainguard", Ecosystem: "Chainguard"}},
		{"ID=\"almalinux\"\nVERSION_ID=\"9.3\"", inventory.Distro{ID: "almalinux", VersionID: "9.3", Ecosystem: "AlmaLinux:9"}},
		{"ID=\"rocky\"\nVERSION_ID=\"8.9\"", inventory.Distro{ID: "rocky", VersionID: "8.9", Ecosystem: "Rocky Linux:8"}},
		{"ID=\"rhel\"\nVERSION_ID=\"9.3\"\nCPE_NAME=\"cpe:/o:redhat:enterprise_linux:9::baseos\"", inventory.Distro{ID: "rhel", VersionID: "9.3", Ecosystem: "Red Hat:enterprise_linux:9::baseos"}},
		{"ID=rhel\nVERSION_ID=9", inventory.Distro{ID: "rhel", VersionID: "9"}},
		{"ID=opensuse-leap\nVERSION_ID=15.5", inventory.Distro{ID: "opensuse-leap", VersionID: "15.5", Ecosystem: "openSUSE:Leap 15.5"}},
		{"ID=sles\nVERSION_ID=15.5", inventory.Distro{ID: "sles", VersionID: "15.5", Ecosystem: "SUSE:Linux Enterprise Server 15 SP5"}},
		{"ID=arch\nBUILD_ID=rolling", inventory.Distro{ID: "arch"}},
		{"ID=one\nID=two", inventory.Distro{ID: "two"}},
		{"# ID=no\n  ID='a'b\"c\\\"d\"\\e  \nNAME=\"open", inventory.Distro{ID: "abc\"de", Name: "open"}},
		{"ID=a\x01b\nNAME=\xff", inventory.Distro{}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, ParseOSRelease([]byte(tt.text))); diff != "" {
			t.Errorf("%q:\n%s", tt.text, diff)
		}
	}
}

// FuzzOSRelease: whatever the text, the result is text that can be stored.
func FuzzOSRelease(f *testing.F) {
	f.Add([]byte("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\nID=debian\n"))
	f.Add([]byte("ID=a\"b\\\"c\"'d'\\e\nCPE_NAME=cpe:/o:redhat:x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := ParseOSRelease(b)
		for _, s := range []string{d.ID, d.VersionID, d.Name, d.Ecosystem} {
			if len(s) > 3*maxText || s != "" && !isText(s[:min(len(s), maxText/2)]) && len(s) <= maxText/2 {
				t.Errorf("%q is not text", s)
			}
		}
	})
}

// TestPURL compares with the library.
func TestPURL(t *testing.T) {
	debian := inventory.Distro{ID: "debian", VersionID: "12"}
	tests := []struct {
		p inventory.Package
		d inventory.Distro
		w packageurl.PackageURL
	}{
		{inventory.Package{Type: "deb", Name: "libstdc++6", Version: "1:12.2.0-14+b1~x", Arch: "amd64"}, debian,
			packageurl.PackageURL{Type: "deb", Namespace: "debian", Name: "libstdc++6", Version: "1:12.2.0-14+b1~x", Qualifiers: quals("arch", "amd64", "distro", "debian-12")}},
		{inventory.Package{Type: "deb", Name: "x", Version: "1"}, inventory.Distro{}, packageurl.PackageURL{Type: "deb", Name: "x", Version: "1"}},
		{inventory.Package{Type: "apk", Name: "busybox", Version: "1.36.1-r15", Arch: "x86_64"}, inventory.Distro{ID: "alpine", VersionID: "3.20.1"},
			packageurl.PackageURL{Type: "apk", Namespace: "alpine", Name: "busybox", Version: "1.36.1-r15", Qualifiers: quals("arch", "x86_64", "distro", "alpine-3.20.1")}},
		{inventory.Package{Type: "rpm", Name: "OpenSSL", Version: "1:3.0.7-24.el9", Arch: "x86_64"}, inventory.Distro{ID: "rocky"},
			packageurl.PackageURL{Type: "rpm", Namespace: "rocky", Name: "OpenSSL", Version: "3.0.7-24.el9", Qualifiers: quals("arch", "x86_64", "distro", "rocky", "epoch", "1")}},
		{inventory.Package{Type: "golang", Name: "github.com/BurntSushi/toml", Version: "1.3.2+incompatible"}, debian,
			packageurl.PackageURL{Type: "golang", Namespace: "github.com/BurntSushi", Name: "toml", Version: "v1.3.2+incompatible"}},
		{inventory.Package{Type: "golang", Name: "stdlib", Version: "1.22.1"}, debian, packageurl.PackageURL{Type: "golang", Name: "stdlib", Version: "1.22.1"}},
		{inventory.Package{Type: "golang", Name: "example.com/own"}, debian, packageurl.PackageURL{Type: "golang", Namespace: "example.com", Name: "own"}},
		{inventory.Package{Type: "npm", Namespace: "@babel", Name: "core", Version: "7.0.0-beta.1"}, debian,
			packageurl.PackageURL{Type: "npm", Namespace: "@babel", Name: "core", Version: "7.0.0-beta.1"}},
		{inventory.Package{Type: "pypi", Name: "Typing_Extensions", Version: "4.0"}, debian, packageurl.PackageURL{Type: "pypi", Name: "Typing_Extensions", Version: "4.0"}},
		{inventory.Package{Type: "composer", Namespace: "Monolog", Name: "Monolog", Version: "2"}, debian,
			packageurl.PackageURL{Type: "composer", Namespace: "Monolog", Name: "Monolog", Version: "2"}},
		{inventory.Package{Type: "maven", Namespace: "org.Apache", Name: "a", Version: "1 2/3?#%é"}, debian,
			packageurl.PackageURL{Type: "maven", Namespace: "org.Apache", Name: "a", Version: "1 2/3?#%é"}},
		{inventory.Package{Type: "cargo", Name: "a", Version: "1"}, debian, packageurl.PackageURL{Type: "cargo", Name: "a", Version: "1"}},
	}
	for _, tt := range tests {
		if err := tt.w.Normalize(); err != nil {
			t.Fatal(err)
		}
		if got, want := PURL(&tt.p, &tt.d), tt.w.ToString(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func quals(kv ...string) (q packageurl.Qualifiers) {
	for i := 0; i < len(kv); i += 2 {
		q = append(q, packageurl.Qualifier{Key: kv[i], Value: kv[i+1]})
	}
	return q
}
