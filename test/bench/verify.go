package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// commands are the bars about commands that people run.
var commands = []bar{
	{
		name:    "verify-command-cpu",
		what:    "CPU of bonded verify of an image that was signed keyless, to cosign verify's with the same keys; each as a process",
		limit:   0.6,
		measure: verifyCommand,
	},
}

// verifications is how often each command is run in a round.
const verifications = 10

// signer is somebody who signs with cosign and the keys of a server.
type signer struct {
	bonded, cosign   string
	env              []string
	issuer, identity string
	root             string // trusted_root.json, as cosign has it
	ref              string // of what was signed
}

func verifyCommand(ctx context.Context, b *bench) (_ reading, err error) {
	o, err := b.startBonded(ctx, setup{dev: true})
	if err != nil {
		return reading{}, err
	}
	defer func() { err = errors.Join(err, o.stop()) }()
	s, err := b.newSigner(ctx, o)
	if err != nil {
		return reading{}, err
	}
	identity := []string{"--certificate-identity", s.identity, "--certificate-oidc-issuer", s.issuer}
	var mine, theirs float64
	for i := range 2 * rounds {
		t, err := s.cpu(ctx, s.cosign, append([]string{"verify", "--allow-http-registry", s.ref}, identity...)...)
		if err != nil {
			return reading{}, err
		}
		m, err := s.cpu(ctx, s.bonded, "verify", s.ref, "--trusted-root", s.root, "--issuer", s.issuer, "--identity", s.identity)
		if err != nil {
			return reading{}, err
		}
		if i == 0 {
			mine, theirs = m, t
		}
		mine, theirs = min(mine, m), min(theirs, t)
	}
	return reading{value: mine / theirs, detail: fmt.Sprintf("%.1f ms and %.1f ms; %s", mine*1e3, theirs*1e3, load())}, nil
}

// newSigner pushes an image and signs it as people do: told by bonded trust env.
func (b *bench) newSigner(ctx context.Context, o *ours) (*signer, error) {
	cosign, err := exec.LookPath("cosign")
	if err != nil {
		return nil, absent("no cosign on PATH")
	}
	bonded, err := filepath.Abs(cmp.Or(b.env("BONDED_TEST_BINARY"), filepath.Join("bin", "bonded")))
	if err != nil {
		return nil, err
	}
	img, err := randomBlobs(1<<10, 1, 1001)
	if err != nil {
		return nil, err
	}
	const repository = sandbox + "/bench/verify"
	if err := o.push(ctx, repository, "1", img); err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp(b.dir, "signer-")
	if err != nil {
		return nil, err
	}
	host := strings.TrimPrefix(o.url, "http://")
	auth := base64.StdEncoding.EncodeToString([]byte(o.admin.Name + ":" + o.admin.Secret))
	if err := os.WriteFile(filepath.Join(home, "config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth), 0o600); err != nil {
		return nil, err
	}
	s := &signer{bonded: bonded, cosign: cosign, ref: host + "/" + repository + ":1", env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "DOCKER_CONFIG=" + home, "BONDED_URL=" + o.url, "BONDED_TOKEN=" + o.admin.Name + ":" + o.admin.Secret,
	}}
	return s, s.sign(ctx)
}

// sign gets an identity and signs.
func (s *signer) sign(ctx context.Context) error {
	out, err := s.run(ctx, s.bonded, "trust", "env", "-o", "json").Output()
	if err != nil {
		return fmt.Errorf("asking for an environment of cosign: %w", err)
	}
	var told struct {
		Env              map[string]string
		Issuer, Identity string
	}
	if err := json.Unmarshal(out, &told); err != nil {
		return fmt.Errorf("reading an environment of cosign: %w", err)
	}
	for name, value := range told.Env {
		s.env = append(s.env, name+"="+value)
	}
	s.issuer, s.identity = told.Issuer, told.Identity
	if out, err := s.run(ctx, s.cosign, "sign", "--yes", "--allow-http-registry", s.ref).CombinedOutput(); err != nil {
		return fmt.Errorf("signing %s: %w\n%s", s.ref, err, out)
	}
	err = filepath.WalkDir(told.Env["TUF_ROOT"], func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, "trusted_root.json") {
			s.root = path
		}
		return err
	})
	if err == nil && s.root == "" {
		err = errors.New("cosign has kept no trusted root")
	}
	return err
}

func (s *signer) run(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = slices.Clone(s.env)
	return cmd
}

// cpu runs a command again and again and returns what it took each time, in
// seconds.
func (s *signer) cpu(ctx context.Context, program string, args ...string) (float64, error) {
	var spent float64
	for range verifications {
		cmd := s.run(ctx, program, args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("running %s %s: %w\n%s", program, strings.Join(args, " "), err, out)
		}
		spent += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	}
	return spent / verifications, nil
}
