package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/spf13/cobra"
	"github.com/theupdateframework/go-tuf/v2/metadata/fetcher"

	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/durable"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/verify"
)

// Refreshed is what became of the trusted root of another instance.
type Refreshed struct {
	File   string `json:"file"`
	Mirror string `json:"mirror"`
	SHA256 string `json:"sha256"`
	// Changed: the file is another one than before.
	Changed bool `json:"changed"`
}

// rootRefresh is a run of bonded trust refresh.
type rootRefresh struct {
	instance, mirror, root string
	kind                   verify.Kind
	first                  []byte // TUF root
	cache                  string
	http                   *http.Client
}

func (p *program) trustRefresh() *cobra.Command {
	var r rootRefresh
	cmd := &cobra.Command{
		Use:   "refresh FILE",
		Short: "Bring the trusted root of a public Sigstore instance up to date",
		Long: `Take trusted_root.json of another Sigstore instance from its TUF repository and
write it to FILE, for trusted_root_file of an anchor: the server sees that it
has changed. Nothing is taken that does not follow from the TUF root that is
known: for public-good the one that comes with the program, else --root. Where
it cannot be verified, or is older than what was seen before, FILE stays as it
is.

A server without a network is brought FILE from a machine that has one.`,
		Example: "  bonded trust refresh /etc/bonded/public-good.json\n" +
			"  bonded trust refresh ./github.json --instance github --root github-root.json",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.prepare(p); err != nil {
				return err
			}
			done, err := r.run(args[0])
			if err != nil {
				return err
			}
			return show(p, done, func(pg *page, d *Refreshed) {
				word := pg.good.Render("Same as before")
				if d.Changed {
					word = pg.good.Render("Written")
				}
				pg.line(word, "  ", d.File)
				pg.fact("from", d.Mirror)
				pg.fact("sha256", d.SHA256)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&r.instance, "instance", "public-good", "`NAME` of the instance: public-good or github")
	flags.StringVar(&r.mirror, "mirror", "", "`URL` of the TUF repository, where it is not the instance's own")
	flags.StringVar(&r.root, "root", "", "`FILE` with a root.json of the TUF repository that you trust; for public-good the program has one")
	p.must(cmd.MarkFlagFilename("root", "json"))
	p.must(cmd.RegisterFlagCompletionFunc("instance", cobra.FixedCompletions([]string{"public-good", "github"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// githubMirror is the TUF repository of GitHub's instance.
const githubMirror = "https://tuf-repo.github.com"

// prepare completes what the flags say, and reads the root that all follows from.
func (r *rootRefresh) prepare(p *program) error {
	shipped, ok := verify.FindShipped(r.instance)
	if !ok {
		return usage("bonded trust refresh --help", "there is no instance %q: public-good, github", r.instance)
	}
	r.kind = shipped.Kind
	if r.mirror == "" {
		r.mirror = map[string]string{"public-good": tuf.DefaultMirror, "github": githubMirror}[r.instance]
	}
	if u, err := url.Parse(r.mirror); err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && config.LoopbackAddress(u.Host)) {
		return usage("bonded trust refresh --help", "%q is no URL of a TUF repository: want https://HOST[/PATH]", r.mirror)
	}
	switch {
	case r.root != "":
		var err error
		if r.first, err = os.ReadFile(r.root); err != nil {
			return fmt.Errorf("reading the root: %w", err)
		}
	case r.instance == "public-good":
		r.first = tuf.DefaultRoot()
	default:
		return usage("bonded trust refresh --help", "--root FILE is missing: no TUF root of %s comes with the program", r.instance)
	}
	// What was seen is kept by the root that it follows from: it must not get older.
	sum := sha256.Sum256(r.first)
	r.cache = filepath.Join(p.configDir(), "trust", "instances", r.instance+"-"+hex.EncodeToString(sum[:8]))
	r.http = &http.Client{Timeout: 30 * time.Second}
	return nil
}

// run fetches, checks and writes.
func (r *rootRefresh) run(file string) (*Refreshed, error) {
	doc, err := r.fetch()
	if err != nil {
		return nil, &failure{code: exitNotPermitted, what: fmt.Sprintf("refreshing %s: %v", file, err), cause: err,
			next: "nothing was changed; is " + r.mirror + " reached from here, and the root its own?"}
	}
	if _, err := verify.NewAnchors(verify.Anchor{Name: r.instance, Kind: r.kind, Roots: [][]byte{doc}}); err != nil {
		return nil, &failure{code: exitNotPermitted, what: fmt.Sprintf("refreshing %s: what %s publishes is no trusted root for an anchor of type %s: %v", file, r.mirror, r.kind, err),
			next: "nothing was changed; is this program older than the instance asks for?", cause: err}
	}
	sum := sha256.Sum256(doc)
	done := &Refreshed{File: file, Mirror: r.mirror, SHA256: hex.EncodeToString(sum[:])}
	before, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading what is there: %w", err)
	}
	if done.Changed = string(before) != string(doc); !done.Changed {
		return done, nil
	}
	// Public keys, which the server's account must be able to read.
	if err := durable.WriteFile(file, doc, 0o644); err != nil {
		return nil, fmt.Errorf("writing the trusted root: %w", err)
	}
	return done, nil
}

// fetch returns trusted_root.json as the TUF repository has it now.
func (r *rootRefresh) fetch() ([]byte, error) {
	if err := os.MkdirAll(r.cache, 0o700); err != nil {
		return nil, err
	}
	f := fetcher.NewDefaultFetcher()
	f.SetHTTPClient(r.http)
	c, err := tuf.New(&tuf.Options{Root: r.first, CachePath: r.cache, RepositoryBaseURL: r.mirror, Fetcher: f})
	if err != nil {
		return nil, err
	}
	return c.GetTarget(trust.TrustedRootName)
}
