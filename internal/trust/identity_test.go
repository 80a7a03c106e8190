package trust

import "testing"

// TestNameIsForEver: what the server is known by is written down when it is made,
// and moving changes nothing of it.
func TestNameIsForEver(t *testing.T) {
	for _, test := range []struct{ origin, url, name string }{
		{"bonded.example", "https://bonded.example:8443", "https://bonded.example:8443"},
		{"bonded.example", "http://127.0.0.1:5000", "https://bonded.example"},
	} {
		w := newWorld(t)
		w.o.Origin, w.o.URL = test.origin, test.url
		first := w.init(InitOptions{})
		root, err := first.TrustedRoot()
		if err != nil {
			t.Fatal(err)
		}
		w.o.URL = "https://elsewhere.example"
		moved, err := Open(t.Context(), w.o)
		if err != nil {
			t.Fatal(err)
		}
		after, err := moved.TrustedRoot()
		if err != nil || string(after) != string(root) {
			t.Errorf("at %s: the trusted root changed: %v", test.url, err)
		}
		if got, err := ServerIn(after); err != nil || got != test.name || moved.Server() != test.name || first.Server() != test.name {
			t.Errorf("at %s: it is known by %q, %q, %q, want %q: %v", test.url, got, first.Server(), moved.Server(), test.name, err)
		}
	}
}

func TestServerIn(t *testing.T) {
	for doc, says := range map[string]string{
		`x`:  "reading",
		`{}`: "no certificate authority",
		`{"certificateAuthorities":[{"uri":"https://a/fulcio"},{"uri":"https://b/fulcio"}]}`: "whose it is",
		`{"certificateAuthorities":[{"uri":"https://fulcio.sigstore.dev"}]}`:                 "whose it is",
	} {
		if server, err := ServerIn([]byte(doc)); err == nil {
			t.Errorf("%s is of %q, want an error that says %q", doc, server, says)
		}
	}
	if server, err := ServerIn([]byte(`{"certificateAuthorities":[{"uri":"https://a/fulcio"},{"uri":"https://a/fulcio"}]}`)); err != nil || server != "https://a" {
		t.Errorf("%q, %v", server, err)
	}
}
