// Package httpscript plays requests in plain text and compares the answers.
//
// A script is a txtar archive: its comment holds the lines, its files are
// bodies.
//
//	# …                      a comment
//	as NAME                  who sends what follows
//	COMMAND ARGUMENT…        a command of the test, such as one that moves a clock
//	> METHOD PATH [FILE]     a request
//	> Name: value            a header of it
//	< …                      the answer
//
// In requests, arguments and files {sha256:FILE}, {sha512:FILE} and {size:FILE}
// stand for what they say, and {Name} for a header of the last answer. Answers
// are written by whoever runs the test with update, and read by a person.
package httpscript

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/bonded-dev/bonded/internal/oci"
)

// World is what a script talks to.
type World struct {
	URL string // of the server; a command may change it
	// As sets the credentials of the one named on a request. It is not called
	// before the first "as".
	As       func(name string, r *http.Request)
	Commands map[string]func(args []string)
	Hide     []string // headers of answers that are not shown, beside Date
}

// Run plays every script of the folder, each in a world of its own. With
// update the answers that came are written into the scripts.
func Run(t *testing.T, dir string, update bool, start func(*testing.T) *World) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, start(t), archive)
			if update {
				archive.Comment = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(archive.Comment), got); diff != "" {
				t.Errorf("other answers (-want +got):\n%s", diff)
			}
		})
	}
}

type script struct {
	*World
	t     *testing.T
	files map[string][]byte
	as    string
	last  http.Header
	out   strings.Builder
}

// maxDepth is how deep files may name each other.
const maxDepth = 5

func play(t *testing.T, w *World, archive *txtar.Archive) string {
	s := &script{World: w, t: t, files: map[string][]byte{}}
	for _, f := range archive.Files {
		s.files[f.Name] = bytes.TrimSuffix(f.Data, []byte("\n"))
	}
	for name := range s.files {
		s.files[name] = []byte(s.expand(string(s.files[name]), maxDepth))
	}
	lines := strings.Split(strings.TrimSuffix(string(archive.Comment), "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "<") })
	for len(lines) > 0 {
		lines = lines[s.line(lines):]
	}
	return s.out.String()
}

// line plays what the first of lines says, and returns how many it took.
func (s *script) line(lines []string) int {
	fmt.Fprintln(&s.out, lines[0])
	request, ok := strings.CutPrefix(lines[0], "> ")
	if !ok {
		s.command(strings.Fields(s.expand(lines[0], maxDepth)))
		return 1
	}
	header, n := http.Header{}, 1
	for ; n < len(lines) && headerLine.MatchString(lines[n]); n++ {
		fmt.Fprintln(&s.out, lines[n])
		k, v, _ := strings.Cut(strings.TrimPrefix(lines[n], "> "), ":")
		header.Add(k, strings.TrimSpace(s.expand(v, maxDepth)))
	}
	s.request(strings.Fields(s.expand(request, maxDepth)), header)
	return n
}

var (
	headerLine = regexp.MustCompile(`^> [A-Za-z-]+:`)
	variable   = regexp.MustCompile(`\{([A-Za-z0-9-]+)(?::([A-Za-z0-9._-]+))?\}`)
)

func (s *script) expand(text string, depth int) string {
	if depth == 0 {
		s.t.Fatal("files name each other in a circle")
	}
	return variable.ReplaceAllStringFunc(text, func(v string) string {
		m := variable.FindStringSubmatch(v)
		b, ok := s.files[m[2]]
		if m[2] != "" && !ok {
			s.t.Fatalf("no file %s", m[2])
		}
		b = []byte(s.expand(string(b), depth-1))
		switch {
		case m[1] == "sha256" || m[1] == "sha512":
			return oci.Algorithm(m[1]).DigestOf(b).String()
		case m[1] == "size":
			return fmt.Sprint(len(b))
		}
		if value := s.last.Get(m[1]); value != "" {
			return value
		}
		return v
	})
}

func (s *script) command(words []string) {
	switch {
	case len(words) == 0 || strings.HasPrefix(words[0], "#"):
	case words[0] == "as" && len(words) == 2:
		s.as = words[1]
	case s.Commands[words[0]] != nil:
		s.Commands[words[0]](words[1:])
	default:
		s.t.Fatalf("no command %q", words)
	}
}

func (s *script) request(words []string, header http.Header) {
	if len(words) < 2 {
		s.t.Fatalf("no request: %q", words)
	}
	var body []byte
	if len(words) > 2 {
		var ok bool
		if body, ok = s.files[words[2]]; !ok {
			s.t.Fatalf("no file %s", words[2])
		}
	}
	req, err := http.NewRequestWithContext(s.t.Context(), words[0], s.URL+words[1], bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = header
	if s.as != "" {
		s.As(s.as, req)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.last = res.Header
	s.show(res, got)
}

func (s *script) show(res *http.Response, body []byte) {
	fmt.Fprintf(&s.out, "< %s\n", res.Status)
	for _, k := range slices.Sorted(maps.Keys(res.Header)) {
		for _, v := range res.Header[k] {
			if k != "Date" && !slices.Contains(s.Hide, k) {
				fmt.Fprintf(&s.out, "< %s: %s\n", k, v)
			}
		}
	}
	if len(body) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if bytes.Equal(s.files[name], body) {
			fmt.Fprintf(&s.out, "< (the file %s)\n", name)
			return
		}
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(body), "\n"), "\n") {
		fmt.Fprintln(&s.out, strings.TrimRight("< "+strings.TrimRight(line, "\r"), " "))
	}
}
