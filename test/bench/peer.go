package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// registry is a running registry that takes load: a peer, or ours.
type registry struct {
	url    string // with scheme, without a slash at the end
	client *http.Client
	pid    int
	// token returns what goes after "Bearer " for a repository.
	token func(repository string) (string, error)
	// uplink holds what is sent to a rate. Optional.
	uplink *uplink
	stop   func() error
}

// startTime bounds how long a peer may take to answer.
const startTime = 30 * time.Second

// distribution starts the reference registry on files, with TLS and tokens.
// Its writes are synced before they are acknowledged; nothing has to be set for it.
func distribution(ctx context.Context, b *bench) (*registry, error) {
	return b.peer(ctx, "BONDED_PEER_REGISTRY", func(dir string, port int, k keys) (file string, config any, args []string) {
		return "config.json", map[string]any{ // JSON is YAML
			"version": "0.1",
			"log":     map[string]any{"level": "error", "accesslog": map[string]any{"disabled": true}},
			"storage": map[string]any{
				"filesystem": map[string]any{"rootdirectory": filepath.Join(dir, "data")},
				"delete":     map[string]any{"enabled": true},
			},
			"http": map[string]any{
				"addr": "127.0.0.1:" + strconv.Itoa(port),
				"tls":  map[string]any{"certificate": k.cert, "key": k.key},
			},
			"auth": map[string]any{"token": map[string]any{
				"realm": realm(port), "service": tokenService, "issuer": tokenIssuer,
				"rootcertbundle": k.cert, "signingalgorithms": []string{"ES256"},
			}},
		}, []string{"serve"}
	})
}

// zot starts zot on files, with TLS and tokens, and with its writes synced as
// ours are.
func zot(ctx context.Context, b *bench) (*registry, error) {
	return b.zot(ctx, true)
}

// zotOpen is zot that lets anyone in, for programs that bring no token.
func zotOpen(ctx context.Context, b *bench) (*registry, error) { return b.zot(ctx, false) }

func (b *bench) zot(ctx context.Context, tokens bool) (*registry, error) {
	return b.peer(ctx, "BONDED_PEER_ZOT", func(dir string, port int, k keys) (file string, config any, args []string) {
		web := map[string]any{
			"address": "127.0.0.1", "port": strconv.Itoa(port),
			"tls": map[string]any{"cert": k.cert, "key": k.key},
		}
		if tokens {
			web["auth"] = map[string]any{"bearer": map[string]any{"realm": realm(port), "service": tokenService, "cert": k.cert}}
		}
		return "config.json", map[string]any{
			"distSpecVersion": "1.1.1",
			"storage":         map[string]any{"rootDirectory": filepath.Join(dir, "data"), "commit": true},
			"http":            web,
			"log":             map[string]any{"level": "error"},
		}, []string{"serve"}
	})
}

// realm is where a peer sends clients for tokens. Nobody is there, the load
// brings its own; clients insist on an address of the registry itself.
func realm(port int) string { return "https://127.0.0.1:" + strconv.Itoa(port) + "/token" }

// peer starts the program that the variable names, with a configuration that
// is made for its folder and port and handed over as last argument.
func (b *bench) peer(ctx context.Context, variable string, configure func(dir string, port int, k keys) (string, any, []string)) (*registry, error) {
	program := b.env(variable)
	if program == "" {
		return nil, absent("%s is not set; test/parts/peers.sh tells what it can build", variable)
	}
	dir, err := os.MkdirTemp(b.dir, filepath.Base(program)+"-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for %s: %w", program, err)
	}
	k, err := newKeys(dir)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	name, config, args := configure(dir, port, k)
	text, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("configuring %s: %w", program, err)
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, fmt.Errorf("configuring %s: %w", program, err)
	}
	r := &registry{
		url:    "https://127.0.0.1:" + strconv.Itoa(port),
		client: httpClient(k.pool),
		token:  k.token,
	}
	log := filepath.Join(dir, "log")
	if err := r.start(ctx, log, program, append(args, file)...); err != nil {
		return nil, err
	}
	if err := r.await(ctx); err != nil {
		_ = r.stop()
		return nil, fmt.Errorf("starting %s: %w\n%s%s", program, err, said(log), said(log+".err"))
	}
	return r, nil
}

// said is what a program printed, as far as it can be read.
func said(log string) []byte {
	text, _ := os.ReadFile(log)
	return text
}

// start runs the program with its output in the file log, and what it says
// about errors in a file beside it.
func (r *registry) start(ctx context.Context, log, program string, args ...string) error {
	out, err := os.Create(log)
	if err != nil {
		return fmt.Errorf("making the log of %s: %w", program, err)
	}
	errs, err := os.Create(log + ".err")
	if err != nil {
		return fmt.Errorf("making the log of %s: %w", program, err)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Start()
	out.Close() // the program has its own
	errs.Close()
	if err != nil {
		return fmt.Errorf("starting %s: %w", program, err)
	}
	r.pid = cmd.Process.Pid
	r.stop = func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("stopping %s: %w", program, err)
		}
		_ = cmd.Wait() // how a peer ends after a signal is its own affair
		return nil
	}
	return nil
}

// await asks until the registry answers its base address.
func (r *registry) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/v2/", nil)
		if err != nil {
			return err
		}
		resp, err := r.client.Do(req)
		if err == nil {
			resp.Body.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer within %s: %w", startTime, err)
		case <-again.C:
		}
	}
}

// freePort returns a port of 127.0.0.1 that nobody listens on now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
