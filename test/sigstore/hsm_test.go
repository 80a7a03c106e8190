package sigstore

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/trust"
)

// hsm is a token with the keys of one instance.
type hsm struct {
	*testing.T
	token testparts.Token
	name  string // starts the labels of its keys
}

func newHSM(t *testing.T) *hsm {
	t.Helper()
	h := &hsm{t, testparts.HSM(t), testparts.Unique(t)}
	// The server, commands beside it and the plug-in itself look there.
	t.Setenv("BONDED_PKCS11_MODULE", h.token.Module)
	t.Setenv("BONDED_PKCS11_PIN_FILE", h.token.PINFile)
	return h
}

// env is what programs are given that start the plug-in.
func (h *hsm) env() []string {
	return []string{"BONDED_PKCS11_MODULE=" + h.token.Module, "BONDED_PKCS11_PIN_FILE=" + h.token.PINFile, "SOFTHSM2_CONF=" + os.Getenv("SOFTHSM2_CONF")}
}

// place is the URI of a key of some generation.
func (h *hsm) place(slot trust.Slot, generation int) string {
	return fmt.Sprintf("bonded-pkcs11://token=%s;object=%s-%s-%d", h.token.Label, h.name, slot, generation)
}

// beside are the keys that cannot be in a token: it has no Ed25519.
var beside = []trust.Slot{trust.LogRekor, trust.LogAudit, trust.Witness}

// places are those of all keys that the token can hold.
func (h *hsm) places(generation func(trust.Slot) int) string {
	var all []string
	for _, s := range append(trust.Slots(), trust.Root, trust.TUFRoot, trust.TUFTargets) {
		if !slices.Contains(beside, s) {
			all = append(all, fmt.Sprintf("%s: %q", s, h.place(s, generation(s))))
		}
	}
	return "trust:\n  keys: {" + strings.Join(all, ", ") + "}\n"
}

// makeKey makes a key as an operator does.
func (h *hsm) makeKey(w *world, slot trust.Slot, generation int) {
	h.Helper()
	args := []string{"create-key", h.place(slot, generation)}
	if slot == trust.Issuer {
		args = append(args, "rsa-sign-pkcs1-2048-sha256")
	}
	out, err := w.try(nil, h.token.Plugin, args...)
	if err != nil || !strings.HasPrefix(out, "-----BEGIN PUBLIC KEY-----") {
		h.Fatalf("making key %s: %v\n%s", slot, err, out)
	}
}

// TestHSM has every key that it can hold in a token, the root's and the
// intermediate's among them: an instance is made from them, stock cosign signs
// and verifies, and keys are replaced by others of the token, the running server
// being told nothing.
func TestHSM(t *testing.T) {
	h := newHSM(t)
	first := func(trust.Slot) int { return 1 }
	operator := &world{T: t, home: t.TempDir(), env: append(h.env(), "PATH="+os.Getenv("PATH"))}
	for _, s := range append(trust.Slots(), trust.Root, trust.TUFRoot, trust.TUFTargets) {
		if !slices.Contains(beside, s) {
			h.makeKey(operator, s, 1)
		}
	}
	operator.write("init.yaml", "data: "+operator.at("data")+"\n"+h.places(first))
	if out, err := operator.try(nil, testparts.Binary(t), "init", "--config", operator.at("init.yaml"), "--offline-keys", operator.at("offline.json")); err != nil {
		t.Fatalf("bonded init: %v\n%s", err, out)
	}
	h.nothingOnDisk(operator.at("data"), operator.at("offline.json"))

	w := newWorld(t, h.places(first))
	w.env = append(w.env, h.env()...)
	r := &rotation{world: w, config: w.at("beside.yaml")}
	r.cosign("sign", "--yes", r.push("dev/app"))
	r.sign("before")
	r.verify()
	offline := filepath.Join(w.server.Data(), "trust", trust.OfflineName)
	h.nothingOnDisk(w.server.Data(), offline)

	replaced := []trust.Slot{trust.Root, trust.Intermediate, trust.LogCT, trust.Issuer}
	for _, s := range replaced {
		h.makeKey(w, s, 2)
	}
	second := func(s trust.Slot) int {
		if slices.Contains(replaced, s) {
			return 2
		}
		return 1
	}
	w.write("beside.yaml", fmt.Sprintf("data: %s\nlisten: 127.0.0.1:0\nurl: %s\n%s", w.server.Data(), w.server.URL(), h.places(second)))
	args := []string{string(trust.LogRekor), "--offline-keys", offline, "--new-offline-keys", w.at("second.json")}
	for _, s := range replaced {
		args = append(args, string(s))
	}
	r.rotate(args...)
	r.takenOver()
	r.sign("after")
	r.verify()
	h.nothingOnDisk(w.server.Data(), w.at("second.json"))
}

// nothingOnDisk looks for private keys beside those that the token cannot hold.
func (h *hsm) nothingOnDisk(data, offline string) {
	h.Helper()
	files, err := filepath.Glob(filepath.Join(data, "trust", "*.key"))
	if err != nil {
		h.Fatal(err)
	}
	for _, f := range files {
		name := filepath.Base(f)
		if !slices.ContainsFunc(beside, func(s trust.Slot) bool { return strings.HasPrefix(name, string(s)) }) {
			h.Errorf("a private key is on disk: %s", f)
		}
	}
	b, err := os.ReadFile(offline)
	if err != nil {
		h.Fatal(err)
	}
	var keys struct {
		Keys map[trust.Slot]map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(b, &keys); err != nil || len(keys.Keys) != 3 {
		h.Fatalf("the offline file: %v\n%s", err, b)
	}
	for s, k := range keys.Keys {
		if len(k) != 1 || !strings.HasPrefix(k["uri"], "bonded-pkcs11://") {
			h.Errorf("the offline file has for %s: %v", s, k)
		}
	}
}
