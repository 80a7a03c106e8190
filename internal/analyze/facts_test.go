package analyze

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

var update = flag.Bool("update", false, "rewrite the golden bytes in docs/format/facts.md")

var sameDigest = cmp.Comparer(func(a, b oci.Digest) bool { return a == b })

func digestOfText(s string) oci.Digest { return oci.FromBytes([]byte(s)) }

// exampleLayer uses every field.
func exampleLayer() *inventory.Layer {
	return &inventory.Layer{
		Digest: digestOfText("blob"), DiffID: oci.SHA512.DigestOf([]byte("diff")), Size: 300, Uncompressed: 2048, Entries: 3,
		Compression: "gzip", ExtractorSet: "dpkg/1", Budget: "standard",
		Files: []inventory.File{
			{Path: "etc/os-release", Digest: digestOfText("r"), Size: 9, Distro: &inventory.Distro{ID: "debian", VersionID: "12", Name: "Debian", Ecosystem: "Debian:12"}},
			{Path: "var/lib/dpkg/status", Set: digestOfText("set"), Digest: digestOfText("s"), Size: 7, Owned: true},
		},
		Links: []inventory.Link{{Path: "lib", Target: "usr/lib"}}, Whiteouts: []string{"tmp/x"}, Opaque: []string{"opt"}, Parents: []string{"opt", "tmp"},
		Paths: inventory.NewPathSet(map[inventory.PathKey]inventory.PathMark{
			inventory.KeyOf("lib"): inventory.MarkFile | inventory.MarkLink, inventory.KeyOf("tmp/x"): inventory.MarkRemoved,
		}),
		Contents: []oci.Digest{digestOfText("t")},
		Coverage: inventory.Coverage{State: inventory.CoveragePartial, Gaps: []inventory.Gap{{Extractor: "dpkg", Path: "a", Reason: "b"}}},
		Secrets:  []inventory.Secret{{Rule: "private-key", Path: "app/key.pem", Line: 300, Fingerprint: "0123456789abcdef"}, {Rule: "netrc", Path: "root/.netrc", Line: 1}},
		Searched: inventory.Coverage{State: inventory.CoveragePartial, Gaps: []inventory.Gap{{Extractor: "secrets", Path: "c", Reason: "d"}}},
	}
}

func exampleSet() *inventory.Set {
	return &inventory.Set{ID: digestOfText("set"), Extractor: "dpkg", Packages: []inventory.Package{
		{Type: "deb", Name: "libssl3", Version: "3.0.11", Arch: "amd64", Source: "openssl", SourceVer: "3.0"},
		{Type: "npm", Namespace: "@s", Name: "n", Version: "1", Licenses: []string{"MIT", "0BSD"}, Ecosystem: "npm"},
	}}
}

// manyPackages is a set that is worth packing.
func manyPackages() *inventory.Set {
	s := exampleSet()
	for i := range 20 {
		s.Packages = append(s.Packages, inventory.Package{Type: "npm", Name: fmt.Sprint("package-", i), Version: "1.0.0", Ecosystem: "npm"})
	}
	return s
}

func TestFactsRoundTrip(t *testing.T) {
	for _, l := range []*inventory.Layer{exampleLayer(), {Coverage: inventory.Coverage{State: inventory.CoverageFull}, Searched: inventory.Coverage{State: inventory.CoverageFull}}} {
		b := MarshalLayer(l)
		got, err := UnmarshalLayer(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(l, got, sameDigest); diff != "" {
			t.Error(diff)
		}
		if !bytes.Equal(b, MarshalLayer(got)) {
			t.Error("the same facts give other bytes")
		}
	}
	for _, s := range []*inventory.Set{exampleSet(), manyPackages(), {}} {
		got, err := UnmarshalSet(MarshalSet(s))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got, sameDigest); diff != "" {
			t.Error(diff)
		}
	}
}

const formatDoc = "../../docs/format/facts.md"

// TestFactsGolden: the bytes of docs/format/facts.md.
func TestFactsGolden(t *testing.T) {
	doc, err := os.ReadFile(formatDoc)
	if err != nil {
		t.Fatal(err)
	}
	text := string(doc)
	for name, b := range map[string][]byte{"layer": MarshalLayer(exampleLayer()), "set": MarshalSet(exampleSet()), "packed set": MarshalSet(manyPackages())} {
		block := regexp.MustCompile("(?s)```hex " + name + "\n(.*?)```")
		m := block.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("%s has no block %q", formatDoc, name)
		}
		if *update {
			text = block.ReplaceAllString(text, "```hex "+name+"\n"+hexLines(b)+"```")
			continue
		}
		want, err := hex.DecodeString(strings.Join(strings.Fields(m[1]), ""))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(unpacked(t, want), unpacked(t, b)) {
			t.Errorf("%s: got\n%swhich is not what %s has: another layout needs another version", name, hexLines(b), formatDoc)
		}
	}
	if *update {
		if err := os.WriteFile(formatDoc, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// unpacked returns header and payload: another build may pack otherwise.
func unpacked(t *testing.T, b []byte) []byte {
	t.Helper()
	d, err := open(b[factsHeader-2], b)
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.Clone(b[:factsHeader-1]), d.b...)
}

func hexLines(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		n := min(len(b), 32)
		fmt.Fprintf(&out, "%x\n", b[:n])
		b = b[n:]
	}
	return out.String()
}

func TestFactsRefused(t *testing.T) {
	good := MarshalSet(exampleSet())
	spoil := func(at int, c byte) []byte {
		b := bytes.Clone(good)
		b[at] = c
		return b
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "another magic": spoil(0, 'X'), "a newer version": spoil(4, 2), "another kind": spoil(5, 'L'), "unknown packing": spoil(6, 9),
		"said to be packed": spoil(6, packedSnappy), "cut": good[:len(good)-1], "more": append(bytes.Clone(good), 0), "unknown algorithm": spoil(7, 9),
		"huge length": append([]byte("BNDF\x01S\x01"), 0xff, 0xff, 0xff, 0xff, 0x0f), "huge count": append(bytes.Clone(good[:7+1+32+5]), 0xff, 0xff, 0x03),
	} {
		if _, err := UnmarshalSet(b); !errors.Is(err, ErrFacts) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	l := exampleLayer()
	l.Paths = l.Paths[1:]
	if _, err := UnmarshalLayer(MarshalLayer(l)); !errors.Is(err, ErrFacts) {
		t.Errorf("paths in disorder: got %v", err)
	}
}

// FuzzUnmarshal: whatever the bytes, they are facts that can be written again,
// or refused.
func FuzzUnmarshal(f *testing.F) {
	f.Add(MarshalLayer(exampleLayer()))
	f.Add(MarshalSet(exampleSet()))
	f.Add(MarshalSet(manyPackages()))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := UnmarshalLayer(b); err == nil {
			again, err := UnmarshalLayer(MarshalLayer(l))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(l, again, sameDigest); diff != "" {
				t.Fatal(diff)
			}
		} else if !errors.Is(err, ErrFacts) {
			t.Fatal(err)
		}
		if s, err := UnmarshalSet(b); err == nil {
			if _, err := UnmarshalSet(MarshalSet(s)); err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(err, ErrFacts) {
			t.Fatal(err)
		}
	})
}
