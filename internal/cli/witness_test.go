package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// startWitness runs bonded witness serve until stop, and returns its key and URL.
func startWitness(t *testing.T, dir, log string) (key, url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, code := &stream{wrote: make(chan string, 1)}, make(chan int, 1)
	env := cli.Env{Clock: time.Now, After: time.After}
	go func() {
		code <- cli.Run(ctx, env, cli.Stdio{Out: out, Err: io.Discard}, []string{"witness", "serve", "--dir", dir, "--name", "witness.example", "--listen", "127.0.0.1:0", "--log", log})
	}()
	said := <-out.wrote
	m := regexp.MustCompile(`witness  (\S+)\n  asked at  (\S+)`).FindStringSubmatch(said)
	if m == nil {
		t.Fatalf("a witness says %q", said)
	}
	return m[1], m[2], func() {
		cancel()
		if got := <-code; got != 0 {
			t.Errorf("interrupted, it exits with %d", got)
		}
	}
}

// TestWitness: a witness as another process signs what a log goes on to, also
// after it was started again, and refuses a second history.
func TestWitness(t *testing.T) {
	dir := t.TempDir()
	key, url, stop := startWitness(t, dir, fmt.Sprint(tlogtest.Verifier(t)))
	options := func(key, url string) tlog.Options {
		v, err := tlog.ParseVerifier(key)
		if err != nil {
			t.Fatal(err)
		}
		w, err := tlog.NewWitnesses(tlog.WitnessesOptions{Witnesses: []tlog.WitnessAt{{URL: url, Verifier: v}}, Quorum: 1, Client: http.DefaultClient, Clock: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		o := tlogtest.Options(t, &tlogtest.Memory{}, mem.New(mem.Options{}))
		o.Witnesses = w
		return o
	}
	o := options(key, url)
	l := tlogtest.Begin(t, o)
	for i := range 3 {
		signed, err := l.Append(t.Context(), tlogtest.Entries(10*i, 10), o.Store.Append)
		if err != nil || !strings.Contains(string(signed), "— witness.example ") {
			t.Fatalf("%s, %v", signed, err)
		}
	}
	stop()
	again, url, stop := startWitness(t, dir, fmt.Sprint(tlogtest.Verifier(t)))
	defer stop()
	if again != key {
		t.Errorf("after a restart its key is %s, and was %s", again, key)
	}
	fork := options(key, url)
	f := tlogtest.Begin(t, fork)
	if _, err := f.Append(t.Context(), tlogtest.Entries(500, 40), fork.Store.Append); !errors.Is(err, tlog.ErrUnwitnessed) {
		t.Errorf("a second history: %v", err)
	}
}
