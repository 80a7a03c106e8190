package secrets

import (
	"bytes"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// entropy is the Shannon entropy of a text in bits a byte.
func entropy(b []byte) float64 {
	var count [256]int
	for _, c := range b {
		count[c]++
	}
	sum := 0.0
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(b))
			sum -= p * math.Log2(p)
		}
	}
	return sum
}

// placeholders are parts of what stands for a secret in examples, in small
// letters.
var placeholders = [][]byte{
	[]byte("example"), []byte("placeholder"), []byte("changeme"), []byte("change_me"), []byte("redacted"), []byte("xxxx"), []byte("****"), []byte("...."),
	[]byte("${"), []byte("{{"), []byte("$("), []byte("%s"), []byte("<"), []byte("your_"), []byte("your-"), []byte("yourpassword"),
	[]byte("0123456789"), []byte("1234567890"), []byte("abcdefgh"), []byte("00000000"), []byte("aaaaaaaa"), []byte("deadbeef"), []byte("notasecret"), []byte("dummy"),
}

// examples are secrets that everybody knows.
var examples = [][]byte{
	[]byte("wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY"), // Amazon's, which is spelt in several ways
	[]byte("AKIAIOSFODNN7EXAMPLE"), []byte("AKIAI44QH8DHBEXAMPLE"), []byte("AKIAIOSFODNN7EXAMPL"),
	// of the Azure storage emulator and of the Cosmos DB emulator
	[]byte("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="),
	[]byte("C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="),
}

// wellKnown are the fingerprints of keys that are published with what they test.
var wellKnown = []string{
	"defcda422e024b45", // Go's src/crypto/x509/platform_root_key.pem
}

// isExample reports whether a text stands for a secret and is none.
func isExample(secret []byte) bool {
	if slices.ContainsFunc(examples, func(e []byte) bool { return bytes.Equal(e, secret) }) {
		return true
	}
	small := bytes.ToLower(secret)
	return slices.ContainsFunc(placeholders, func(p []byte) bool { return bytes.Contains(small, p) })
}

// published are the places where package managers put what all the world can
// download; each ends with a slash.
var published = []string{
	"node_modules/", "site-packages/", "dist-packages/", "pkg/mod/", "gems/", "vendor/", "usr/local/go/", "usr/lib/go/", "usr/share/", "usr/lib/python3/", "usr/local/lib/python3",
	"cargo/registry/", ".m2/repository/",
}

// inTests matches what a package is tested with and explained by, by the rest of
// the path: a folder or file that is named so.
var inTests = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(?:^|[/_.-])(?:tests?|testdata|testing|testkeys?|testutils?|testcerts?|fixtures?|mocks?|fakes?|examples?|samples?|specs?|docs?|demos?|benchmarks?|readme)(?:[/_.-]|$)|test(?:data|util|ing|case|key|cert)|\.(?:md|rst|adoc)$`)
})

// isPublished reports whether a file is of the tests, examples or documents of
// a published package: a key in there is known to everybody.
func isPublished(name string) bool {
	at := -1
	for _, place := range published {
		if i := strings.Index(name, place); i >= 0 && (i == 0 || name[i-1] == '/' || place[0] == '.') {
			at = max(at, i+len(place))
		}
	}
	if at < 0 {
		return false
	}
	return inTests().MatchString(name[at:])
}
