package evidence

import (
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/oci"
)

// TestAbout: forms in which publishers name products, and which package of an
// image each is, and is not. Purls of packages are as the analysis writes them.
func TestAbout(t *testing.T) {
	image := oci.FromBytes([]byte("image"))
	const (
		libssl  = "pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12"
		samba   = "pkg:rpm/redhat/samba-client@4.18.6-1.el8?arch=x86_64&distro=rhel-8.9&epoch=2"
		gitjob  = "pkg:golang/github.com/rancher/gitjob@v0.9.12"
		scoped  = "pkg:npm/%40angular/core@17.0.0"
		busybox = "pkg:apk/alpine/busybox@1.36.1-r2?arch=x86_64&distro=alpine-3.18.4"
		maven   = "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"
		python  = "pkg:pypi/ruamel-yaml@0.17"
	)
	sources := map[string][2]string{libssl: {"openssl", "3.0.11-1~deb12u2"}, samba: {"samba", "2:4.18.6-1.el8"}}
	for _, c := range []struct {
		product, purl string
		want          bool
	}{
		{"pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12", libssl, true},
		{"pkg:deb/debian/libssl3@3.0.11-1%7Edeb12u2", libssl, true},
		{"pkg:deb/debian/libssl3@3.0.11-1~deb12u2?distro=debian-12.5&upstream=openssl&package-id=1", libssl, true},
		{"pkg:deb/debian/libssl3", libssl, true},
		{"pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=arm64", libssl, false},
		{"pkg:deb/debian/libssl3@3.0.11-1~deb12u2?distro=debian-11", libssl, false},
		{"pkg:deb/debian/libssl3@3.0.11-1~deb12u2?distro=debian-1", libssl, false},
		{"pkg:deb/debian/libssl3?distro=bookworm", libssl, false},
		{"pkg:deb/ubuntu/libssl3@3.0.11-1~deb12u2", libssl, false},
		{"pkg:deb/debian/openssl@3.0.11-1~deb12u2?arch=source", libssl, true},
		{"pkg:deb/debian/openssl@3.0.11-1~deb12u2", libssl, false}, // another binary
		{"pkg:deb/debian/openssl@3.0.11-1~deb12u1?arch=source", libssl, false},
		{"pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=source", libssl, false},
		{"pkg:rpm/redhat/samba@4.18.6-1.el8?arch=src&epoch=2", samba, true},
		{"pkg:rpm/redhat/samba@4.18.6-1.el8?arch=src", samba, false}, // another epoch
		{"pkg:rpm/redhat/samba-client@4.18.6-1.el8?epoch=2", samba, true},
		{"pkg:rpm/redhat/samba-client@2:4.18.6-1.el8", samba, true},
		{"pkg:rpm/redhat/samba-client@2%3A4.18.6-1.el8?arch=x86_64", samba, true},
		{"pkg:rpm/redhat/samba-client@4.18.6-1.el8", samba, false},
		{"pkg:rpm/redhat/samba-client@1:4.18.6-1.el8", samba, false},
		{"pkg:rpm/redhat/samba-client", samba, true},
		{"pkg:golang/github.com/rancher/gitjob@v0.9.12", gitjob, true},
		{"pkg:golang/github.com/Rancher/gitjob@0.9.12", gitjob, true},
		{"pkg:golang/github.com/rancher/gitjob@v0.9.1", gitjob, false},
		{"pkg:golang/github.com/rancher/gitjob@v0.9.12#pkg/git", gitjob, false},
		{"pkg:golang/github.com/rancher/gitjob/v2", gitjob, false},
		{"pkg:npm/@angular/core@17.0.0", scoped, true},
		{"pkg:npm/%40angular/core@17.0.0", scoped, true},
		{"pkg:npm/%40angular%2Fcore@17.0.0", scoped, true},
		{"pkg:npm/@angular/core", scoped, true},
		{"pkg:npm/core@17.0.0", scoped, false},
		{"pkg:npm/%40Angular/core@17.0.0", scoped, false},
		{"pkg:npm/@angular/core@17.0.0?repository_url=https://npm.acme.example", scoped, false},
		{"pkg:apk/alpine/busybox@1.36.1-r2?distro=alpine-3.18", busybox, true},
		{"pkg:apk/alpine/busybox@1.36.1-r2?distro=alpine-3.1", busybox, false},
		{"pkg:apk/alpine/busybox@1.36.1-r2?arch=source", busybox, true},
		{"pkg:apk/alpine/busybox@1.36.1-r1?arch=source", busybox, false},
		{"pkg:npm/@angular/core@17.0.0?arch=source", scoped, false},
		{"pkg:apk/wolfi/busybox@1.36.1-r2", busybox, false},
		{"pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1?type=jar", maven, true},
		{"pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1?classifier=tests", maven, false},
		{"pkg:PyPI/ruamel_yaml@0.17", python, true},
		{"pkg:pypi/ruamel.yaml@0.17", python, false},
		{"pkg:oci/app@" + strings.Replace(image.String(), ":", "%3A", 1) + "?repository_url=ghcr.io/acme/app", python, true},
		{"pkg:oci/app@sha256%3A" + strings.Repeat("1", 64), python, false},
		{"pkg:oci/app", python, false}, // from a feed, it may be any
		{"cpe:/o:redhat:enterprise_linux:8", samba, false},
		{"red_hat_enterprise_linux_8:samba-client", samba, false},
		{"pkg:pypi/ruamel-yaml@0.17%zz", python, false},
		{"pkg:", python, false},
		{"", python, false},
	} {
		f := &Finding{ID: "CVE-1", PURL: c.purl, Source: sources[c.purl][0], SourceVersion: sources[c.purl][1]}
		st := &VEXStatement{Vulnerability: "CVE-1", Status: NotAffected, Products: []string{c.product}}
		if got := st.About(f, image, false); got != c.want {
			t.Errorf("%s is about %s: %v, want %v", c.product, c.purl, got, c.want)
		}
		if st.Status = Fixed; c.want && !strings.Contains(c.product[strings.LastIndexByte(c.product, '/')+1:], "@") && st.About(f, image, false) && !strings.HasPrefix(c.product, "pkg:oci/") {
			t.Errorf("%s is fixed in no version, and %s is taken for fixed", c.product, c.purl)
		}
	}
}

// FuzzProduct: a product that is about a package is so whatever is said of others,
// and one with another version is not.
func FuzzProduct(f *testing.F) {
	f.Add("pkg:deb/debian/openssl@3.0.11?arch=source", "pkg:deb/debian/libssl3@3.0.11?arch=amd64&distro=debian-12")
	f.Add("pkg:npm/%40a/b@1", "pkg:npm/@a/b@1")
	f.Fuzz(func(t *testing.T, product, purl string) {
		have := &Finding{ID: "CVE-1", PURL: purl}
		if !isPackage(product, have, NotAffected) {
			return
		}
		want, ok := parseProduct(product)
		of, ok2 := parseProduct(purl)
		if !ok || !ok2 || want.name != of.name || want.version != "" && want.version != of.version {
			t.Errorf("%q is about %q", product, purl)
		}
	})
}
