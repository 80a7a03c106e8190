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
		what:    "CPU of bonded verify of an image that was signed keyless, to cosign verify's, which has its keys from TUF; each as a process",
		limit:   0.6,
		measure: verifyCommand(byEnvironment),
	},
	{
		name:    "verify-command-root",
		what:    "the same, where cosign too is given the trusted root as a file",
		limit:   0.6,
		measure: verifyCommand(byRoot),
	},
	{
		name:    "verify-command-key",
		what:    "the same, of an image that was signed by a key, which both are given with the trusted root",
		limit:   0.6,
		measure: verifyCommand(byKey),
	},
}

// form is what of a signer a verification is told: the arguments of both programs
// beside the image.
type form func(s *signer) (ours, theirs []string)

func byEnvironment(s *signer) (ours, theirs []string) {
	return []string{"--trusted-root", s.root, "--issuer", s.issuer, "--identity", s.identity}, []string{"--certificate-identity", s.identity, "--certificate-oidc-issuer", s.issuer}
}

func byRoot(s *signer) (ours, theirs []string) {
	ours, theirs = byEnvironment(s)
	return ours, append(theirs, "--trusted-root", s.root)
}

func byKey(s *signer) (ours, theirs []string) {
	both := []string{"--trusted-root", s.root, "--key", s.key}
	return both, both
}

// verifications is how often each command is run in a round.
const verifications = 10

// signer is somebody who signs with cosign and the keys of a server.
type signer struct {
	bonded, cosign   string
	env              []string
	issuer, identity string
	root             string // trusted_root.json, as cosign has it
	key              string // a public key that has signed too
	ref              string // of what was signed
}

func verifyCommand(by form) func(context.Context, *bench) (reading, error) {
	return func(ctx context.Context, b *bench) (_ reading, err error) {
		o, err := b.startBonded(ctx, setup{dev: true})
		if err != nil {
			return reading{}, err
		}
		defer func() { err = errors.Join(err, o.stop()) }()
		s, err := b.newSigner(ctx, o)
		if err != nil {
			return reading{}, err
		}
		mine, theirs := by(s)
		return s.compare(ctx, append([]string{"verify", s.ref}, mine...), append([]string{"verify", "--allow-http-registry", s.ref}, theirs...))
	}
}

// compare runs both programs in turn, and takes the least of each.
func (s *signer) compare(ctx context.Context, ours, cosigns []string) (reading, error) {
	var mine, theirs float64
	for i := range 2 * rounds {
		t, err := s.cpu(ctx, s.cosign, cosigns...)
		if err != nil {
			return reading{}, err
		}
		m, err := s.cpu(ctx, s.bonded, ours...)
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
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "COSIGN_PASSWORD=", "DOCKER_CONFIG=" + home, "BONDED_URL=" + o.url, "BONDED_TOKEN=" + o.admin.Name + ":" + o.admin.Secret,
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
	prefix := filepath.Join(told.Env["TUF_ROOT"], "..", "bench")
	s.key = prefix + ".pub"
	for _, args := range [][]string{
		{"sign", "--yes", "--allow-http-registry", s.ref}, {"generate-key-pair", "--output-key-prefix", prefix},
		{"sign", "--yes", "--allow-http-registry", "--key", prefix + ".key", s.ref},
	} {
		if out, err := s.run(ctx, s.cosign, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("signing %s: %w\n%s", s.ref, err, out)
		}
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
