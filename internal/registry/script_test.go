package registry_test

import (
	"bytes"
	"flag"
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
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

var update = flag.Bool("update", false, "write the answers that came into testdata")

// TestScripts plays testdata/*.txtar: requests in plain text, and the answers
// to them. The archive's comment is the script, its files are bodies.
//
//	# …                      a comment
//	as NAME                  who sends what follows; "as anonymous"
//	admit|deny|withdraw|stay REPOSITORY@DIGEST [SENTENCE or TIME]
//	clock DURATION           lets time pass
//	restart                  forgets what the process remembers
//	> METHOD PATH [FILE]     a request
//	> Name: value            a header of it
//	< …                      the answer; -update writes it
//
// In requests, files and arguments {sha256:FILE}, {sha512:FILE} and {size:FILE}
// stand for what they say, {Name} for a header of the last answer.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { play(t, file) })
	}
}

type script struct {
	*world
	files map[string][]byte
	as    string
	last  http.Header
	out   strings.Builder
}

func play(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{world: newWorld(t), files: map[string][]byte{}, as: "anonymous"}
	s.serve()
	for _, f := range archive.Files {
		s.files[f.Name] = bytes.TrimSuffix(f.Data, []byte("\n"))
	}
	for name := range s.files {
		s.files[name] = []byte(s.expand(string(s.files[name]), 5))
	}
	s.run(strings.Split(string(archive.Comment), "\n"))
	if *update {
		archive.Comment = []byte(s.out.String())
		if err := os.WriteFile(file, txtar.Format(archive), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(archive.Comment), s.out.String()); diff != "" {
		t.Errorf("other answers (-want +got):\n%s", diff)
	}
	if s.log.Len() > 0 && !strings.Contains(string(archive.Comment), "# logs") {
		t.Errorf("logged:\n%s", s.log)
	}
}

var variable = regexp.MustCompile(`\{([A-Za-z0-9-]+)(?::([a-z0-9.-]+))?\}`)

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

// run plays the lines and writes them, with the answers that came, to s.out.
func (s *script) run(lines []string) {
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "<") })
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if i == len(lines)-1 && line == "" {
			break
		}
		fmt.Fprintln(&s.out, line)
		request, ok := strings.CutPrefix(line, "> ")
		if !ok {
			s.command(strings.Fields(line))
			continue
		}
		header := http.Header{}
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "> ") && strings.Contains(strings.Fields(lines[i+1])[1], ":") {
			i++
			fmt.Fprintln(&s.out, lines[i])
			k, v, _ := strings.Cut(strings.TrimPrefix(lines[i], "> "), ":")
			header.Add(k, strings.TrimSpace(s.expand(v, 5)))
		}
		s.request(strings.Fields(s.expand(request, 5)), header)
	}
}

func (s *script) command(words []string) {
	if len(words) == 0 || words[0] == "#" {
		return
	}
	rest := ""
	if len(words) > 2 {
		rest = strings.Join(words[2:], " ")
	}
	switch words[0] {
	case "as":
		s.as = words[1]
	case "admit":
		s.judge(s.expand(words[1], 5), repo.Admitted, "", time.Time{})
	case "deny":
		s.judge(s.expand(words[1], 5), repo.Denied, rest, time.Time{})
	case "withdraw":
		s.judge(s.expand(words[1], 5), repo.Withdrawn, rest, time.Time{})
	case "stay":
		until, err := time.Parse(time.RFC3339, rest)
		if err != nil {
			s.t.Fatal(err)
		}
		s.judge(s.expand(words[1], 5), repo.Admitted, "", until)
	case "clock":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.add(d)
	case "restart":
		s.start()
		s.serve()
	default:
		s.t.Fatalf("no command %q", words[0])
	}
}

func (s *script) request(words []string, header http.Header) {
	var body []byte
	if len(words) > 2 {
		var ok bool
		if body, ok = s.files[words[2]]; !ok {
			s.t.Fatalf("no file %s", words[2])
		}
	}
	req, err := http.NewRequestWithContext(s.t.Context(), words[0], s.url+words[1], bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = header
	if s.as != "anonymous" && header.Get("Authorization") == "" {
		header.Set("Authorization", "Bearer "+s.as)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	s.last = res.Header
	fmt.Fprintf(&s.out, "< %s\n", res.Status)
	for _, k := range slices.Sorted(headers(res.Header)) {
		for _, v := range res.Header[k] {
			fmt.Fprintf(&s.out, "< %s: %s\n", k, v)
		}
	}
	got, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.show(got)
}

// headers yields those that say something.
func headers(h http.Header) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range h {
			if k != "Date" && k != "Docker-Distribution-Api-Version" && !yield(k) {
				return
			}
		}
	}
}

func (s *script) show(body []byte) {
	if len(body) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if bytes.Equal(s.files[name], body) {
			fmt.Fprintf(&s.out, "< (the file %s)\n", name)
			return
		}
	}
	for line := range strings.SplitSeq(string(body), "\n") {
		fmt.Fprintln(&s.out, strings.TrimRight("< "+strings.TrimRight(line, "\r"), " "))
	}
}
