package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// writeTree writes files below a folder of the test's own.
func writeTree(t *testing.T, files map[string][]byte) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "app")
	for name, b := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// layoutFiles are those of an OCI layout with one image, and of what docker
// saves beside it.
func layoutFiles(t *testing.T, layers ...[]byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	put := func(mediaType string, b []byte) (oci.Descriptor, string) {
		d := oci.FromBytes(b)
		name := "blobs/sha256/" + d.Hex()
		files[name] = b
		return oci.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}, name
	}
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cfg := oci.ImageConfig{Architecture: "amd64", OS: "linux"}
	cfg.RootFS.Type = "layers"
	var descs []oci.Descriptor
	var names []string
	for _, l := range layers {
		d, name := put("application/vnd.oci.image.layer.v1.tar", l)
		descs, names, cfg.RootFS.DiffIDs = append(descs, d), append(names, name), append(cfg.RootFS.DiffIDs, d.Digest)
	}
	config, configName := put(oci.MediaTypeConfig, encode(cfg))
	m, _ := put(oci.MediaTypeManifest, encode(map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "config": config, "layers": descs}))
	m.Platform = &oci.Platform{OS: "linux", Architecture: "amd64"}
	files["index.json"] = encode(map[string]any{"schemaVersion": 2, "manifests": []oci.Descriptor{m}})
	files["manifest.json"] = encode([]any{map[string]any{"Config": configName, "Layers": names, "RepoTags": []string{"reg.example/app:1"}}})
	return files
}

// goAdvisory is a folder of advisories with one about every Go program.
func goAdvisory(t *testing.T) string {
	t.Helper()
	record := `{"id":"GO-TEST-1","modified":"2026-11-01T00:00:00Z","aliases":["CVE-2026-0001"],"summary":"a test",
		"affected":[{"package":{"ecosystem":"Go","name":"stdlib"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"99.0.0"}]}]}]}`
	rating := `{"id":"BIT-TEST-1","modified":"2026-11-01T00:00:00Z","aliases":["CVE-2026-0001"],"severity":[{"type":"CVSS_V3","score":"` + critical + `"}],
		"affected":[{"package":{"ecosystem":"Bitnami","name":"golang"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"99.0.0"}]}]}]}`
	return writeTree(t, map[string][]byte{"Go/GO-TEST-1.json": []byte(record), "Bitnami/BIT-TEST-1.json": []byte(rating)})
}

// runScan runs the command and returns what it printed and its exit code.
func runScan(t *testing.T, authFiles []string, args ...string) (out, problem string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	scanner := Scanner{Version: "test", AuthFiles: authFiles, Clock: time.Now}
	env := cli.Env{Vars: []string{"HOME=" + t.TempDir()}, Version: "test", Clock: time.Now, After: time.After, Deps: cli.Deps{Scan: scanner.Scan}}
	code = cli.Run(t.Context(), env, cli.Stdio{In: strings.NewReader(""), Out: &stdout, Err: &stderr}, append([]string{"scan"}, args...))
	return stdout.String(), stderr.String(), code
}

func TestScan(t *testing.T) {
	osv := goAdvisory(t)
	bad := layoutFiles(t, layerOf(t, map[string][]byte{"etc/motd": []byte("hello")}), layerOf(t, map[string][]byte{"usr/bin/app": program(t)}))
	saved := map[string][]byte{}
	for name, b := range bad {
		if name != "index.json" && name != "oci-layout" {
			saved[name] = b
		}
	}
	tar := func(files map[string][]byte) string {
		return filepath.Join(writeTree(t, map[string][]byte{"image.tar": layerOf(t, files)}), "image.tar")
	}
	good := writeTree(t, layoutFiles(t, layerOf(t, map[string][]byte{"etc/motd": []byte("hello")})))
	gate := filepath.Join(writeTree(t, map[string][]byte{"strict.yaml": []byte("apiVersion: bonded.dev/v1\nkind: Gate\nname: strict\ndescribe: x\naccepts: [image]\n" +
		"enter:\n  - rule: no-go\n    says: there is no Go\n    forbid: packages.filter(p, p.type == \"golang\")\n")}), "strict.yaml")
	for name, tt := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"a layout":        {[]string{writeTree(t, bad), "--gate", "staging", "--advisories", osv}, 1, []string{"(linux/amd64)", "in 2 layers", "DENIED for staging", "✗ no-critical-with-fix", "critical  CVE-2026-0001", "update stdlib to 99.0.0"}},
		"a tar":           {[]string{tar(bad), "--gate", "staging", "--advisories", osv}, 1, []string{"DENIED for staging"}},
		"what was saved":  {[]string{tar(saved) + ":app:1", "--gate", "staging", "--advisories", osv}, 1, []string{":app:1", "DENIED for staging"}},
		"another image":   {[]string{good, "--gate", "staging", "--advisories", osv}, 0, []string{"ALLOWED for staging"}},
		"another gate":    {[]string{writeTree(t, bad), "--gate", gate}, 1, []string{"DENIED for strict", "✗ no-go"}},
		"no advisories":   {[]string{good}, 3, []string{"HELD for dev", "? no-malicious-packages"}},
		"nothing there":   {[]string{filepath.Join(good, "none.tar")}, 2, []string{"there is no such file or folder"}},
		"no registry":     {[]string{"debian:12"}, 2, []string{"names no registry", "next:", "docker.io/library/debian:12"}},
		"not an image":    {[]string{osv}, 2, []string{"neither index.json nor manifest.json", "skopeo copy"}},
		"no such gate":    {[]string{good, "--gate", "none"}, 2, []string{"neither a file nor a shipped gate"}},
		"no such folder":  {[]string{good, "--advisories", filepath.Join(good, "none")}, 2, []string{"reading the folder of advisories"}},
		"no answer":       {[]string{"127.0.0.1:1/x/y"}, 5, []string{"the registry does not answer"}},
		"a broken layout": {[]string{writeTree(t, map[string][]byte{"index.json": []byte("{")})}, 2, []string{"reading index.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, problem, code := runScan(t, nil, tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, s := range tt.says {
				if !strings.Contains(out+problem, s) {
					t.Errorf("does not say %q:\n%s%s", s, out, problem)
				}
			}
		})
	}
}

// TestScanKnowsNoServer: a scan names no repository, and no step that takes a
// server.
func TestScanKnowsNoServer(t *testing.T) {
	good := writeTree(t, layoutFiles(t, layerOf(t, map[string][]byte{"etc/motd": []byte("hello")})))
	out, problem, _ := runScan(t, nil, good, "-o", "json")
	var got cli.ScanResult
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v\n%s%s", err, out, problem)
	}
	if len(got.Next) != 1 || got.Next[0].Zone != "staging" || got.Next[0].Outcome != api.CannotTell {
		t.Errorf("of the next zone: %+v", got.Next)
	}
	if got.Inventory.Repository != "" || got.Findings.Repository != "" || got.Inventory.Platform != "linux/amd64" {
		t.Errorf("of %+v", got.Inventory.Artifact)
	}
	if strings.Contains(out, "feed update") || !strings.Contains(out, "malicious: bonded scan --advisories FOLDER") {
		t.Errorf("it names the next step of a server:\n%s", out)
	}
}

// What a scan says of an image in a registry, its server says too, in the same
// words.
func TestScanSaysWhatTheServerSays(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "stdlib", "99.0.0", critical)
	w.advise("GO-TEST-2", "github.com/bonded-dev/bonded", "99.0.0", low) // of which the program has no version
	records := map[string][]byte{}
	for _, id := range []string{"GO-TEST-1", "GO-TEST-2"} {
		b, err := os.ReadFile(filepath.Join(w.feed, id+".json"))
		if err != nil {
			t.Fatal(err)
		}
		records["Go/"+id+".json"] = b
	}
	osv := writeTree(t, records)
	host := strings.TrimPrefix(w.transport.url, "http://")
	auth := base64.StdEncoding.EncodeToString([]byte(w.admin.Name + ":" + w.admin.Secret))
	authFile := filepath.Join(writeTree(t, map[string][]byte{"config.json": fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth)}), "config.json")
	dev := w.enrol("ann", "developer")
	from := oci.MustRepository("dev/app")
	for tag, layers := range map[string][][]byte{
		"program":  {layerOf(t, map[string][]byte{"usr/bin/app": program(t)})},
		"text":     {layerOf(t, map[string][]byte{"etc/motd": []byte("hello")})},
		"debian":   {layerOf(t, map[string][]byte{"etc/os-release": []byte("ID=debian\nVERSION_ID=12\n"), "var/lib/dpkg/status": []byte("Package: x\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n")})},
		"unknown":  {layerOf(t, map[string][]byte{"var/lib/dpkg/status": []byte("Package: x\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n")})},
		"no layer": {[]byte(strings.Repeat("text", 500))},
	} {
		tag = strings.ReplaceAll(tag, " ", "-")
		image := w.pushImage(dev, "dev/app", tag, layers...)
		w.settled("dev/app", image.Digest, repo.Admitted, repo.Denied, repo.Held)
		for _, gate := range []string{"dev", "staging", "production"} {
			t.Run(tag+" for "+gate, func(t *testing.T) {
				to, err := from.InZone(gate)
				if err != nil {
					t.Fatal(err)
				}
				verdict, err := w.assess.Decide(t.Context(), from, to, image.Digest)
				if err != nil {
					t.Fatal(err)
				}
				out, problem, _ := runScan(t, []string{authFile}, host+"/dev/app:"+tag, "--gate", gate, "--advisories", osv, "-o", "json")
				var got cli.ScanResult
				if err := json.Unmarshal([]byte(out), &got); err != nil {
					t.Fatalf("%v\n%s%s", err, out, problem)
				}
				want := verdict.Decision
				if diff := cmp.Diff(want.Reasons, got.Decision.Reasons); diff != "" || want.Outcome != got.Decision.Outcome {
					t.Errorf("reasons (-server +scan):\n%s", diff)
				}
				if want.Inputs.Inventory != got.Decision.Inputs.Inventory || want.Inputs.Gate != got.Decision.Inputs.Gate || want.Inputs.ExtractorSet != got.Decision.Inputs.ExtractorSet {
					t.Errorf("inputs\nserver %+v\nscan   %+v", want.Inputs, got.Decision.Inputs)
				}
			})
		}
		w.sameAnswers(dev, host, tag, authFile, osv)
	}
}

// sameAnswers compares inventory and findings, but for when and where.
func (w *world) sameAnswers(who api.Enrolled, host, tag, authFile, osv string) {
	w.Helper()
	out, problem, _ := runScan(w.T, []string{authFile}, host+"/dev/app:"+tag, "--gate", "dev", "--advisories", osv, "-o", "json")
	var got cli.ScanResult
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		w.Fatalf("%v\n%s%s", err, out, problem)
	}
	res, body := w.request(who, "GET", "/api/v1/inventory?ref=dev/app:"+tag, nil)
	w.want(200, res, body)
	inventory := decode[api.Inventory](w, body)
	got.Inventory.Artifact, inventory.Artifact = api.Artifact{}, api.Artifact{}
	if diff := cmp.Diff(inventory, &got.Inventory); diff != "" {
		w.Errorf("inventory of %s (-server +scan):\n%s", tag, diff)
	}
	res, body = w.request(who, "GET", "/api/v1/findings?ref=dev/app:"+tag, nil)
	w.want(200, res, body)
	findings := decode[api.Findings](w, body)
	for _, list := range [][]api.Finding{findings.Findings, got.Findings.Findings} {
		for i := range list {
			list[i].Known = time.Time{}
		}
	}
	if diff := cmp.Diff(findings.Findings, got.Findings.Findings); diff != "" {
		w.Errorf("findings of %s (-server +scan):\n%s", tag, diff)
	}
	if diff := cmp.Diff(findings.Unchecked, got.Findings.Unchecked); diff != "" {
		w.Errorf("unchecked of %s (-server +scan):\n%s", tag, diff)
	}
}
