package testparts

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// asker is a test that remembers how it ended.
type asker struct {
	testing.TB
	ended string
}

func (a *asker) Helper() {}

func (a *asker) Skipf(format string, args ...any) {
	a.ended = "skip: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (a *asker) Fatalf(format string, args ...any) {
	a.ended = "fail: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// ask runs f as a test would and returns how it ended.
func ask(t *testing.T, f func(t testing.TB)) string {
	a := &asker{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(a)
	}()
	<-done
	return a.ended
}

func TestAbsentParts(t *testing.T) {
	for _, name := range []string{"PARTS_PG_URL", "PARTS_S3_ENDPOINT", EnvOSV, EnvFeeds, "DOCKER_HOST"} {
		t.Setenv(name, "")
	}
	t.Setenv("PATH", t.TempDir())
	parts := map[string]func(t testing.TB){
		"postgres": func(t testing.TB) { Postgres(t) },
		"s3":       func(t testing.TB) { S3(t) },
		"osv":      func(t testing.TB) { OSV(t) },
		"feeds":    func(t testing.TB) { Feeds(t) },
		"crane":    func(t testing.TB) { Program(t, "crane") },
		"docker":   func(t testing.TB) { Program(t, "docker") },
	}
	for name, f := range parts {
		t.Run(name, func(t *testing.T) {
			t.Setenv(EnvRequireAll, "")
			if got, want := ask(t, f), "skip: "+AbsentPrefix+name+": "; !strings.HasPrefix(got, want) {
				t.Errorf("ended with %q, want %q…", got, want)
			}
			t.Setenv(EnvRequireAll, "1")
			if got, want := ask(t, f), "fail: "+AbsentPrefix+name+": "; !strings.HasPrefix(got, want) {
				t.Errorf("with all parts required, ended with %q, want %q…", got, want)
			}
		})
	}
}

func TestUnknownProgram(t *testing.T) {
	got := ask(t, func(t testing.TB) { Program(t, "no-such-program") })
	if !strings.HasPrefix(got, "fail: testparts knows no program") {
		t.Errorf("ended with %q", got)
	}
}

func TestFolderMustExist(t *testing.T) {
	t.Setenv(EnvOSV, t.TempDir()+"/missing")
	if got := ask(t, func(t testing.TB) { OSV(t) }); !strings.HasPrefix(got, "fail: ") {
		t.Errorf("ended with %q, want a failure: a wrong path is not an absent part", got)
	}
}

func TestUnique(t *testing.T) {
	t.Run("Ünïcode/with spaces and a name that is far longer than an identifier may be", func(t *testing.T) {
		a, b := unique(t), unique(t)
		if a == b {
			t.Errorf("%s twice", a)
		}
		if !regexp.MustCompile(`^[a-z][a-z0-9_]{1,62}$`).MatchString(a) {
			t.Errorf("%q is no identifier", a)
		}
	})
}

func TestPostgresIsFreshAndDropped(t *testing.T) {
	var first string
	t.Run("use", func(t *testing.T) {
		first = Postgres(t)
		second := Postgres(t)
		if first == second {
			t.Errorf("%s was given twice", first)
		}
		execute(t, first, "create table t (x int)")
		execute(t, second, "create table t (x int)")
	})
	if first == "" {
		return // absent, and the inner test said so
	}
	conn, err := pgx.Connect(t.Context(), first)
	if err == nil {
		conn.Close(t.Context())
		t.Fatalf("%s is still there", first)
	}
	if !strings.Contains(err.Error(), "does not exist") {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	tests := []struct{ name, said, url, token string }{
		{"one line", "listening on http://127.0.0.1:4711, administrator token: abcdefghijklmnop0123\n", "http://127.0.0.1:4711", "abcdefghijklmnop0123"},
		{"two lines", "  registry   https://127.0.0.1:99/\n  token      bnd_ABCDEFGHIJKLMNOP\n", "https://127.0.0.1:99", "bnd_ABCDEFGHIJKLMNOP"},
		{"a word about tokens", "tokens expire\nhttp://127.0.0.1:1\ntoken abcdefghijklmnopq\ntoken zzzzzzzzzzzzzzzzz\n", "http://127.0.0.1:1", "abcdefghijklmnopq"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := watch(strings.NewReader(test.said))
			<-o.ready
			if o.url != test.url || o.token != test.token {
				t.Errorf("read %q and %q, want %q and %q", o.url, o.token, test.url, test.token)
			}
		})
	}
}

func TestWatchSurvivesLongLines(t *testing.T) {
	r, w := io.Pipe()
	watch(r)
	if _, err := io.WriteString(w, strings.Repeat("x", 3<<20)+"\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
}
