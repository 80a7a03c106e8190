package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
)

// Zones of the server under test.
const (
	gatedZone = "dev"     // with the shipped gate that builds go through
	plainZone = "plain"   // with the gate that asks nothing
	nextZone  = "next"    // reached from there, with the same gate
	sandbox   = "sandbox" // of a development server: nothing is analysed
)

// feedName is the source that a server loads advisories from.
const feedName = "local"

// ours is a running Bonded.
type ours struct {
	*registry
	admin      api.Enrolled
	api        *client.Client
	advisories int // records that were loaded
}

// started is what `bonded serve -o json` prints.
type started struct {
	URL   string        `json:"url"`
	CA    string        `json:"ca"`
	Enrol *api.Invite   `json:"enrol"`
	Admin *api.Enrolled `json:"admin"`
}

// bonded returns the server that all bars share, so that its peak of memory is
// that of the whole run: files and SQLite, TLS of its own authority, tokens,
// and the advisories that BONDED_TEST_OSV names.
func (b *bench) bonded(ctx context.Context) (*ours, error) {
	if b.server != nil {
		return b.server, nil
	}
	o, err := b.startBonded(ctx, setup{feed: b.env("BONDED_TEST_OSV")})
	if err != nil {
		return nil, err
	}
	b.server = o
	if b.env("BONDED_TEST_OSV") == "" {
		return o, nil
	}
	for p, err := range o.api.UpdateFeeds(ctx, api.FeedUpdate{}) {
		if err != nil {
			return nil, fmt.Errorf("loading advisories: %w", err)
		}
		o.advisories = max(o.advisories, p.Records)
		if p.Done != nil {
			o.advisories = p.Done.Advisories
		}
	}
	return o, nil
}

// setup says what to start a server with.
type setup struct {
	dev  bool   // with a sandbox, without TLS
	feed string // folder with advisories, loaded when it is asked for. Optional.
	// fill puts content into the data folder before the start. Optional.
	fill func(ctx context.Context, data string) error
}

// startBonded starts a server on a folder of its own.
func (b *bench) startBonded(ctx context.Context, s setup) (*ours, error) {
	dir, err := os.MkdirTemp(b.dir, "bonded-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the server: %w", err)
	}
	data := filepath.Join(dir, "data")
	if s.fill != nil {
		if err := s.fill(ctx, data); err != nil {
			return nil, fmt.Errorf("filling the server's folder: %w", err)
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	config := map[string]any{
		"listen": "127.0.0.1:" + strconv.Itoa(port),
		"log":    map[string]any{"level": "warn"},
		"zones": []any{
			map[string]any{"name": gatedZone},
			map[string]any{"name": nextZone, "gate": "allow-all", "from": []string{plainZone}},
			map[string]any{"name": plainZone, "gate": "allow-all"},
		},
		"feeds": []any{},
	}
	if s.feed != "" {
		config["feeds"] = []any{map[string]any{"name": feedName, "dir": s.feed, "interval": "0s"}}
	}
	text, err := json.Marshal(config) // JSON is YAML
	if err != nil {
		return nil, fmt.Errorf("configuring the server: %w", err)
	}
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, fmt.Errorf("configuring the server: %w", err)
	}
	args := []string{"serve", "-o", "json", "--data", data, "--config", file}
	if s.dev {
		args = append(args, "--dev")
	}
	program := b.env("BONDED_TEST_BINARY")
	if program == "" {
		program = filepath.Join("bin", "bonded")
	}
	o := &ours{registry: &registry{}}
	log := filepath.Join(dir, "log")
	if err := o.start(ctx, log, program, args...); err != nil {
		return nil, err
	}
	if err := o.enter(ctx, log); err != nil {
		_ = o.stop()
		return nil, fmt.Errorf("starting %s: %w\n%s%s", program, err, said(log), said(log+".err"))
	}
	return o, nil
}

// enter waits for what the server says of itself, and enrols.
func (o *ours) enter(ctx context.Context, log string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	var s started
	for json.Unmarshal(said(log), &s) != nil {
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing was said within %s", startTime)
		case <-again.C:
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(s.CA))
	o.url, o.client = s.URL, httpClient(pool)
	if err := o.await(ctx); err != nil {
		return err
	}
	switch {
	case s.Admin != nil:
		o.admin = *s.Admin
	case s.Enrol != nil:
		c, err := client.New(client.Options{URL: s.URL, HTTPClient: o.client})
		if err != nil {
			return err
		}
		got, err := c.Enrol(ctx, api.EnrolRequest{Code: s.Enrol.Code, Label: "bench"})
		if err != nil {
			return err
		}
		o.admin = *got
	default:
		return errors.New("nobody can enrol")
	}
	tokens := &tokenSource{registry: o.registry, who: o.admin, kept: map[string]kept{}}
	o.token = tokens.token
	var err error
	o.api, err = client.New(client.Options{URL: s.URL, HTTPClient: o.client, Name: o.admin.Name, Secret: o.admin.Secret})
	return err
}

// verdict waits until an artifact has a decision, and returns its outcome.
func (o *ours) verdict(ctx context.Context, repository string, m content) (*api.Decision, error) {
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		why, err := o.api.Why(ctx, client.WhyQuery{Ref: repository + "@" + m.digest})
		if err != nil {
			return nil, fmt.Errorf("asking for the verdict on %s: %w", m.digest, err)
		}
		if why.Decision != nil {
			return why.Decision, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-again.C:
		}
	}
}

// tokenSource gets tokens as registry clients do, and keeps them for half of
// their life.
type tokenSource struct {
	*registry
	who api.Enrolled

	mu   sync.Mutex
	kept map[string]kept // by repository
}

type kept struct {
	token string
	until time.Time
}

func (t *tokenSource) token(repository string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.kept[repository]; time.Now().Before(k.until) {
		return k.token, nil
	}
	query := url.Values{"service": {t.url}, "scope": {"repository:" + repository + ":pull,push"}}
	req, err := http.NewRequest(http.MethodGet, t.url+"/token?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(t.who.Name, t.who.Secret)
	resp, err := t.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("reading a token: %w", err)
	}
	var got struct {
		Token   string `json:"token"`
		Expires int    `json:"expires_in"`
	}
	if err := json.Unmarshal(text, &got); err != nil || got.Token == "" {
		return "", fmt.Errorf("getting a token for %s: %s: %.200s", repository, resp.Status, text)
	}
	t.kept[repository] = kept{got.Token, time.Now().Add(time.Duration(got.Expires) * time.Second / 2)}
	return got.Token, nil
}
