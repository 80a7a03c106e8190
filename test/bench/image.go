package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// deed is what something took, in seconds.
type deed struct{ cpu, wall float64 }

// comparison is the push of the Debian image on both sides.
type comparison struct {
	ours, theirs deed
	detail       string
}

// timed measures fn, with the CPU time that the process takes until it has
// nothing left to do: work that an answer leaves behind counts for the answer.
func timed(ctx context.Context, r *registry, fn func() error) (deed, error) {
	before, err := usageOf(r.pid)
	if err != nil {
		return deed{}, err
	}
	begun := time.Now()
	if err := fn(); err != nil {
		return deed{}, err
	}
	d := deed{wall: time.Since(begun).Seconds()}
	after, err := idle(ctx, r.pid)
	d.cpu = after.since(before).cpu
	return d, err
}

func imageRatio(of func(deed) float64) func(context.Context, *bench) (reading, error) {
	return func(ctx context.Context, b *bench) (reading, error) {
		c, err := b.compareImage(ctx)
		if err != nil {
			return reading{}, err
		}
		return reading{value: of(c.ours) / of(c.theirs), detail: c.detail}, nil
	}
}

// debianRepository is where the Debian image goes in the server that is shared.
const debianRepository = gatedZone + "/bench/debian"

// rounds is how often the image is pushed on each side, in turn and each time to
// empty stores; the round with the least counts, for CPU and wall each.
const rounds = 2

// compareImage pushes the image on both sides, once for all bars.
func (b *bench) compareImage(ctx context.Context) (*comparison, error) {
	if b.image != nil {
		return b.image, nil
	}
	if b.env("BONDED_PEER_TRIVY") == "" || b.env("BONDED_PEER_ZOT") == "" {
		return nil, absent("BONDED_PEER_TRIVY or BONDED_PEER_ZOT is not set")
	}
	img, layers, err := b.debianImage(ctx)
	if err != nil {
		return nil, err
	}
	c := &comparison{}
	var trivy float64
	for i := range rounds {
		theirs, scan, err := b.pushAndScan(ctx, img)
		if err != nil {
			return nil, err
		}
		mine, err := b.pushAndJudge(ctx, i, img, layers)
		if err != nil {
			return nil, err
		}
		if i == 0 || theirs.cpu < c.theirs.cpu {
			trivy = scan
		}
		c.ours, c.theirs = least(c.ours, mine), least(c.theirs, theirs)
	}
	mine, theirs, err := b.packages(ctx, b.server, debianRepository, img.manifest)
	if err != nil {
		return nil, err
	}
	c.detail = fmt.Sprintf("%d MB, %d packages and %d; ours %.2f CPU s in %.2f s, theirs %.2f CPU s (trivy %.2f) in %.2f s; %s",
		img.bytes()/1e6, mine, theirs, c.ours.cpu, c.ours.wall, c.theirs.cpu, trivy, c.theirs.wall, load())
	b.image = c
	return c, nil
}

func least(x, y deed) deed {
	if x == (deed{}) {
		return y
	}
	return deed{cpu: min(x.cpu, y.cpu), wall: min(x.wall, y.wall)}
}

// pushAndJudge pushes to ours and waits for the verdict. In each round the
// bytes of the layers are others, so that nothing is known of them.
func (b *bench) pushAndJudge(ctx context.Context, round int, img image, layers []layer) (deed, error) {
	shared, err := b.bonded(ctx)
	if err != nil {
		return deed{}, err
	}
	if round > 0 {
		if img, err = fresh(img, layers, round); err != nil {
			return deed{}, err
		}
	}
	if _, err := shared.token(debianRepository); err != nil {
		return deed{}, err
	}
	return timed(ctx, shared.registry, func() error {
		if err := shared.push(ctx, debianRepository, "1", img); err != nil {
			return err
		}
		_, err := shared.verdict(ctx, debianRepository, img.manifest)
		return err
	})
}

// fresh is the image with other bytes: each layer is compressed once more with
// another name in its gzip header, so that no digest of a blob is known.
func fresh(img image, layers []layer, round int) (image, error) {
	var list []layer
	for _, l := range layers {
		data, err := renamed(l.data, fmt.Sprintf("round-%d", round))
		if err != nil {
			return image{}, err
		}
		list = append(list, layer{newContent(data, gzipType), l.diffID})
	}
	return newImage(list)
}

// renamed sets the FNAME field of a gzip header that has no optional fields
// (RFC 1952, section 2.3).
func renamed(data []byte, name string) ([]byte, error) {
	if len(data) < 10 || data[3] != 0 {
		return nil, errors.New("the gzip header has fields already")
	}
	out := slices.Concat(data[:10], []byte(name), []byte{0}, data[10:])
	out[3] = 1 << 3 // FNAME
	return out, nil
}

// pushAndScan pushes to an empty zot and has trivy with an empty cache pull and
// scan it. trivy's CPU time is also returned alone.
func (b *bench) pushAndScan(ctx context.Context, img image) (_ deed, scan float64, err error) {
	r, err := zotOpen(ctx, b)
	if err != nil {
		return deed{}, 0, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	cmd, err := b.trivy(ctx, r, "bench/debian:1")
	if err != nil {
		return deed{}, 0, err
	}
	d, err := timed(ctx, r, func() error {
		if err := r.push(ctx, "bench/debian", "1", img); err != nil {
			return err
		}
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("running trivy: %w: %.600s", err, said)
		}
		return nil
	})
	if err != nil {
		return deed{}, 0, err
	}
	scan = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	d.cpu += scan
	return d, scan, nil
}

// trivy prepares a scan of an image. BONDED_PEER_TRIVY_DB may name a folder with
// its database; without one it lists packages and matches nothing, which is less
// work than the other side does.
func (b *bench) trivy(ctx context.Context, r *registry, image string) (*exec.Cmd, error) {
	cache, err := os.MkdirTemp(b.dir, "trivy-")
	if err != nil {
		return nil, fmt.Errorf("making a cache for trivy: %w", err)
	}
	format := []string{"--format", "cyclonedx"}
	if db := b.env("BONDED_PEER_TRIVY_DB"); db != "" {
		if err := os.CopyFS(filepath.Join(cache, "db"), os.DirFS(db)); err != nil {
			return nil, fmt.Errorf("copying trivy's database: %w", err)
		}
		format = []string{"--format", "json", "--scanners", "vuln"}
	}
	args := []string{
		"image", "--cache-dir", cache, "--quiet", "--insecure", "--image-src", "remote",
		"--skip-db-update", "--skip-java-db-update", "--offline-scan", "--skip-version-check", "--disable-telemetry",
		"--output", filepath.Join(b.dir, "trivy.json"),
	}
	args = append(append(args, format...), strings.TrimPrefix(r.url, "https://")+"/"+image)
	cmd := exec.CommandContext(ctx, b.env("BONDED_PEER_TRIVY"), args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+cache)
	return cmd, nil
}

// packages is how many packages trivy's last answer names, and ours on an
// image: a side that read less would be no measure.
func (b *bench) packages(ctx context.Context, o *ours, repository string, m content) (mine, theirs int, err error) {
	inv, err := o.api.Inventory(ctx, repository+"@"+m.digest)
	if err != nil {
		return 0, 0, err
	}
	text, err := os.ReadFile(filepath.Join(b.dir, "trivy.json"))
	if err != nil {
		return 0, 0, fmt.Errorf("reading what trivy found: %w", err)
	}
	var found struct {
		Components []struct {
			Type string `json:"type"`
		} `json:"components"` // as CycloneDX
		Results []struct {
			Packages []json.RawMessage `json:"Packages"`
		} `json:"Results"` // of trivy
	}
	if err := json.Unmarshal(text, &found); err != nil {
		return 0, 0, fmt.Errorf("reading what trivy found: %w", err)
	}
	for _, c := range found.Components {
		if c.Type == "library" {
			theirs++
		}
	}
	for _, r := range found.Results {
		theirs += len(r.Packages)
	}
	return len(inv.Packages), theirs, nil
}

// family is how many images with one new layer are pushed.
const family = 9

func nextOfFamily(ctx context.Context, b *bench) (reading, error) {
	_, layers, err := b.debianImage(ctx)
	if err != nil {
		return reading{}, err
	}
	o, err := b.bonded(ctx)
	if err != nil {
		return reading{}, err
	}
	alone, err := b.calibration()
	if err != nil {
		return reading{}, err
	}
	repository := gatedZone + "/bench/family"
	var waits, scaled []float64
	for i := range family + 1 {
		img, err := member(layers, uint64(i))
		if err != nil {
			return reading{}, err
		}
		blobs := img.blobs
		if i > 0 { // clients ask first, and leave out what is there
			blobs = []content{img.blobs[0], img.blobs[len(layers)+1]}
		}
		if err := o.pushBlobs(ctx, repository, blobs); err != nil {
			return reading{}, err
		}
		begun := time.Now()
		if err := o.pushManifest(ctx, repository, "1", img.manifest); err != nil {
			return reading{}, err
		}
		if _, err := o.verdict(ctx, repository, img.manifest); err != nil {
			return reading{}, err
		}
		wait := time.Since(begun).Seconds() * 1000
		begun = time.Now()
		if _, err := (&bench{}).calibration(); err != nil {
			return reading{}, err
		}
		slower := max(1, time.Since(begun).Seconds()/alone)
		if i > 0 { // the first brought the layers of the base
			waits, scaled = append(waits, wait), append(scaled, wait/slower)
		}
	}
	slices.Sort(waits)
	slices.Sort(scaled)
	return reading{value: scaled[family/2], detail: fmt.Sprintf("unscaled: least %.0f, median %.0f, most %.0f ms; %s", waits[0], waits[family/2], waits[family-1], load())}, nil
}

// member is the Debian image with a layer of 1 MB on top.
func member(layers []layer, seed uint64) (image, error) {
	src := rand.NewChaCha8([32]byte{byte(seed), 2})
	data, err := randomLayer(src, fmt.Sprintf("opt/app-%d", seed), 1<<20)
	if err != nil {
		return image{}, fmt.Errorf("making a layer: %w", err)
	}
	c := newContent(data, tarType)
	return newImage(append(slices.Clone(layers), layer{c, c.digest}))
}

// gigabit is 1 Gbit/s in bytes a second.
const gigabit = 1e9 / 8

// heldRounds is how often the image is pushed over the held line on each side.
const heldRounds = 3

// uploadWithAnalysis pushes over a held line to a development server: its
// sandbox analyses nothing, its other zones do. The two take turns.
func uploadWithAnalysis(ctx context.Context, b *bench) (_ reading, err error) {
	img, layers, err := b.debianImage(ctx)
	if err != nil {
		return reading{}, err
	}
	o, err := b.startBonded(ctx, setup{dev: true})
	if err != nil {
		return reading{}, err
	}
	defer func() { err = errors.Join(err, o.stop()) }()
	o.uplink = &uplink{rate: gigabit}
	best := map[string]float64{}
	for i := range 2 * heldRounds {
		zone := []string{sandbox, gatedZone}[i%2]
		again, err := fresh(img, layers, i)
		if err != nil {
			return reading{}, err
		}
		repository := zone + "/bench/debian"
		begun := time.Now()
		if err := o.push(ctx, repository, "1", again); err != nil {
			return reading{}, err
		}
		took := time.Since(begun).Seconds()
		if before, ok := best[zone]; !ok || took < before {
			best[zone] = took
		}
		if zone == gatedZone { // its analysis must not run into the next
			if _, err := o.verdict(ctx, repository, again.manifest); err != nil {
				return reading{}, err
			}
		}
	}
	return reading{
		value:  best[gatedZone] / best[sandbox],
		detail: fmt.Sprintf("%.2f s and %.2f s, where the line alone takes %.2f s; %s", best[gatedZone], best[sandbox], float64(img.bytes())/gigabit, load()),
	}, nil
}
