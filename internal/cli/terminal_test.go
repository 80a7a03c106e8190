package cli_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/cli"
)

// terminal runs a command as somebody at a terminal does.
func terminal(t *testing.T, url, in string, args ...string) (code int, out, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	env := cli.Env{Vars: []string{"HOME=" + t.TempDir(), "TERM=xterm", "BONDED_URL=" + url, "BONDED_TOKEN=ann:s3cret"}, Clock: func() time.Time { return now }, Hostname: "box", Deps: fakeParts()}
	code = cli.Run(ctx, env, cli.Stdio{In: strings.NewReader(in), Out: &stdout, Err: &stderr, Width: 80, InTerminal: true, ErrTerminal: true}, args)
	if ctx.Err() != nil {
		t.Errorf("%v did not end by itself", args)
	}
	return code, stdout.String(), stderr.String()
}

// TestTerminal: bars and spinners end, and leave the answer alone.
func TestTerminal(t *testing.T) {
	f := newFakeServer(t)
	defer f.Close()
	code, out, said := terminal(t, f.URL, "", "feed", "update", "--force", "osv")
	if code != 0 || !strings.Contains(out, "LOADED") || strings.Contains(out, "57000/57000") {
		t.Errorf("feed update exits with %d, says %q", code, out)
	}
	if !strings.Contains(said, "local") || !strings.Contains(said, "57000/57000 advisories") {
		t.Errorf("the bar shows %q", said)
	}
	image := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := terminal(t, f.URL, "", "scan", image, "--advisories", "x"); code != 1 || !strings.Contains(out, "DENIED") {
		t.Errorf("scan exits with %d, says %q", code, out)
	}
	if code, _, said := terminal(t, f.URL, "", "whyy"); code != 2 || !strings.Contains(said, "\x1b[") {
		t.Errorf("an error exits with %d, says %q", code, said)
	}
	if code, _, _ := terminal(t, "", "KX4P-9QTM\n", "login", f.URL); code != 0 {
		t.Errorf("login with a typed code exits with %d", code)
	}
	if code, _, said := terminal(t, "", "\n", "login", f.URL); code != 2 || !strings.Contains(said, "no code was given") {
		t.Errorf("login without a code exits with %d, says %q", code, said)
	}
}

// TestAbsentParts: a build without a part says so.
func TestAbsentParts(t *testing.T) {
	for _, args := range [][]string{{"serve"}, {"init"}, {"fsck"}, {"scan", "x"}} {
		var said bytes.Buffer
		env := cli.Env{Vars: []string{"HOME=" + t.TempDir()}, Clock: func() time.Time { return now }}
		if code := cli.Run(t.Context(), env, cli.Stdio{Out: &said, Err: &said}, args); code != 5 || !strings.Contains(said.String(), "this build cannot") {
			t.Errorf("%v exits with %d, says %q", args, code, said.String())
		}
	}
}

// TestTransferred: bytes, rate and rest, once there are some to tell it by.
func TestTransferred(t *testing.T) {
	for _, tt := range []struct {
		done, total int64
		took        time.Duration
		want        string
	}{
		{0, 0, time.Second, ""},
		{1000, 71_200_000, 100 * time.Millisecond, "  1.0 kB of 71.2 MB"},
		{12_300_000, 71_200_000, 2 * time.Second, "  12.3 MB of 71.2 MB, 6.2 MB/s, 9 s left"},
		{72_000_000, 71_200_000, 10 * time.Second, "  71.2 MB of 71.2 MB, 7.2 MB/s"}, // a tar is a little longer than its files
	} {
		if got := cli.Transferred(tt.done, tt.total, tt.took); got != tt.want {
			t.Errorf("%d of %d after %s: %q, want %q", tt.done, tt.total, tt.took, got, tt.want)
		}
	}
}
