package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/strictjson"
	"github.com/bonded-dev/bonded/internal/trust"
)

// epochFiles are what a state is taken from where no server is asked.
type epochFiles struct{ file, root string }

func (p *program) epoch() *cobra.Command {
	var f epochFiles
	cmd := &cobra.Command{
		Use:   "epoch REPOSITORY|REFERENCE",
		Short: "Say whether the state of a repository is older than one seen",
		Long: `Ask the server for the state of a repository and its number, the epoch, which
grows with each change. It is verified by the server's trusted root. The newest
that this user has seen is kept: an older one, another one of the same number,
and one that has expired are refused, as after a restored backup, or from a
mirror that was stopped.

Without a network: --file FILE has what -o json has printed elsewhere, and
--trusted-root FILE what bonded trust root has. What was seen counts there too,
whoever brought it.

Exits with 0 when it is current, 1 when it is refused, 3 when it is not proven
yet or the clocks of the two machines do not agree.`,
		Example: `  bonded epoch production/payments/api:1.8
  bonded epoch production/payments/api -o json > epoch.json
  bonded epoch production/payments/api --file epoch.json --trusted-root r.json`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: firstOnly(p.completeReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.file != "" {
				return p.epochHere(args[0], f)
			}
			return p.epochThere(cmd.Context(), args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "file", "f", "", "ask no server: the state is in this `FILE`, as -o json prints it")
	flags.StringVar(&f.root, "trusted-root", "", "trusted_root.json of the server, in this `FILE`")
	cmd.MarkFlagsRequiredTogether("file", "trusted-root")
	p.must(cmd.MarkFlagFilename("file", "json"))
	p.must(cmd.MarkFlagFilename("trusted-root", "json"))
	return cmd
}

// repositoryOrTag reads a reference whose tag is "" where none is written: here
// that is the repository, and not what its tag latest names.
func repositoryOrTag(arg string) (oci.Reference, error) {
	ref, err := oci.ParseReference(arg)
	if name, _, _ := strings.Cut(arg, "@"); !strings.HasSuffix(name, ":"+ref.Tag) {
		ref.Tag = ""
	}
	return ref, err
}

func (p *program) epochThere(ctx context.Context, arg string) error {
	c, l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	ref, err := repositoryOrTag(reference(arg, l))
	if err != nil {
		return err
	}
	e, err := p.newest(ctx, c, ref.Repository.String(), ref.Tag != "" || p.output != outputText)
	if err != nil {
		return sought(err, arg, l)
	}
	return p.showEpoch(e, ref.Tag)
}

func (p *program) epochHere(arg string, f epochFiles) error {
	ref, err := repositoryOrTag(arg)
	if err != nil {
		return usage("bonded epoch REPOSITORY[:TAG] --file FILE --trusted-root FILE", "%v", err)
	}
	e, err := p.epochOf(f)
	switch {
	case err != nil:
		return err
	case e.Repository != ref.Repository.String():
		return &failure{code: exitDenied, what: fmt.Sprintf("%s is the state of %s, and %s was asked for", f.file, e.Repository, ref.Repository)}
	case ref.Tag != "" && !hasLines(e):
		return noLines(f.file)
	}
	return p.showEpoch(e, ref.Tag)
}

func (p *program) showEpoch(e *api.RepositoryEpoch, tag string) error {
	return show(p, e, func(pg *page, e *api.RepositoryEpoch) {
		pg.line(pg.good.Render("CURRENT"), "  ", pg.bold.Render(e.Repository), "  epoch ", count(e.Epoch.Epoch))
		pg.line("  tags        ", count(e.Tags))
		pg.line("  placements  ", count(e.Placements))
		pg.line("  made        ", pg.ago(e.At), ", good until ", e.Expires.UTC().Format("2006-01-02 15:04 UTC"))
		if tag != "" {
			pg.line("  ", tag, " names ", or(api.TagIn(e.State, tag)))
		}
		pg.line("  proof       batch ", count(e.Batch.Number), ", leaf ", strconv.FormatInt(e.Index, 10), ", signed by the server")
	})
}

// vouched is what the states of a server are verified by. None of it comes with
// them.
type vouched struct {
	name string // of the server
	root []byte // trusted_root.json
}

// vouches returns what the server that is meant is verified by, as the keys
// that were trusted first vouch for it.
func (p *program) vouches(ctx context.Context) (v vouched, err error) {
	t, err := p.trustServer(ctx, "")
	if err != nil {
		return v, err
	}
	if v.root, err = t.document(trust.TrustedRootName); err == nil {
		v.name, err = trust.ServerIn(v.root)
	}
	return v, err
}

// newest returns the state of a repository as the server says it, proven and no
// older than what was seen. One that just changed is waited for.
func (p *program) newest(ctx context.Context, c *client.Client, repository string, lines bool) (*api.RepositoryEpoch, error) {
	e, err := c.Epoch(ctx, repository, lines)
	for tries := 0; err == nil && !e.Proven && tries < epochTries; tries++ {
		select {
		case <-p.env.After(epochPause):
			e, err = c.Epoch(ctx, repository, lines)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	if !e.Proven {
		return nil, &failure{code: exitCannotTell, what: fmt.Sprintf("the state of %s is not proven: %s", repository, e.Text), next: "bonded health says why nothing is signed"}
	}
	v, err := p.vouches(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.believe(e, v, lines); err != nil {
		return nil, err
	}
	if e.Repository != repository {
		return nil, &failure{code: exitDenied, what: fmt.Sprintf("the server answers with the state of %s, and %s was asked for", e.Repository, repository)}
	}
	return e, p.fresh(v.name, &e.Epoch)
}

// A state is proven within seconds of its change.
const (
	epochPause = 500 * time.Millisecond
	epochTries = 30
)

// believe verifies a state by its proof, and makes e what that proves.
func (p *program) believe(e *api.RepositoryEpoch, v vouched, lines bool) error {
	identity, issuer := trust.IdentityOf(v.name)
	doc, said, err := sign.VerifyEpoch(e, v.root, identity, issuer)
	if err == nil && lines && !hasLines(&api.RepositoryEpoch{Epoch: *doc, State: e.State}) {
		err = errors.New("its lines are not those of its digest " + doc.Digest)
	}
	if err != nil {
		return &failure{code: exitDenied, what: fmt.Sprintf("the state of %s is not proven: %v", oci.Quote(e.Repository), err), next: "is there somebody in between? ask the server itself", cause: err}
	}
	e.Epoch, e.Batch.Number = *doc, said.Number
	return nil
}

// hasLines reports whether the lines of a state are there, and its own.
func hasLines(e *api.RepositoryEpoch) bool { return api.StateDigest(e.State) == e.Digest }

func noLines(file string) error {
	return usage("bonded epoch REPOSITORY -o json > "+word(file), "%s has no lines that say what its tags name", file)
}

// maxEpoch bounds a file with a state, in bytes.
const maxEpoch = 64 << 20

// epochOf reads a state from files, verified and no older than what was seen.
func (p *program) epochOf(f epochFiles) (*api.RepositoryEpoch, error) {
	raw, err := readBounded(f.file, maxEpoch)
	if err != nil {
		return nil, err
	}
	var v vouched
	if v.root, err = readBounded(f.root, maxTrusted); err != nil {
		return nil, err
	}
	if v.name, err = p.named(v.root); err != nil {
		return nil, err
	}
	e := new(api.RepositoryEpoch)
	if _, err = strictjson.Parse(raw, strictjson.Limits{Bytes: maxEpoch}); err == nil {
		err = json.Unmarshal(raw, e)
	}
	if err != nil {
		return nil, &failure{code: exitDenied, what: fmt.Sprintf("%s is no state of a repository: %v", f.file, err), next: "bonded epoch REPOSITORY -o json prints one", cause: err}
	}
	if err := p.believe(e, v, false); err != nil {
		return nil, err
	}
	return e, p.fresh(v.name, &e.Epoch)
}

// named is the name of the server whose trusted root a file has: the one of
// --server, or else the one that the root says.
func (p *program) named(root []byte) (string, error) {
	switch {
	case p.server != "" && strings.Contains(p.server, "://"):
		return p.server, nil
	case p.server != "":
		return "https://" + p.server, nil
	}
	name, err := trust.ServerIn(root)
	if err != nil {
		return "", usage("--trusted-root has what bonded trust root prints; name the server with --server URL", "%v", err)
	}
	return name, nil
}

// current makes sure that what a server says of an artifact is no older than what
// was seen of its repository, and is what the state of that says. A repository
// that never had an epoch, such as one in a sandbox, cannot be held against
// anything.
func (p *program) current(ctx context.Context, c *client.Client, w *api.Why, asked oci.Reference) error {
	if r := asked.Repository; !r.IsZero() && r.String() != w.Repository {
		return &failure{code: exitDenied, what: fmt.Sprintf("the server answers about %s, and %s was asked about", w.Repository, r), next: "it does not stand in " + r.String() + ": bonded list " + r.String()}
	}
	e, err := p.newest(ctx, c, w.Repository, true)
	var refused *client.Error
	if errors.As(err, &refused) && refused.Code == "not-found" {
		return p.never(ctx, w.Repository)
	}
	if err != nil {
		return err
	}
	stands := api.PlacedIn(e.State, w.Digest)
	doubt := &failure{
		code: exitCannotTell, what: fmt.Sprintf("%s@%s is %s, and in epoch %d of its repository %s", w.Repository, short(w.Digest), w.State, e.Epoch.Epoch, or(stands)),
		next: "it may have changed just now: try again",
	}
	if w.State != stands && (w.State == "admitted" || stands != "") {
		return doubt
	}
	if names := api.TagIn(e.State, asked.Tag); asked.Tag != "" && asked.Digest.IsZero() && stands != "" && names != w.Digest {
		doubt.what = fmt.Sprintf("the server says that %s:%s is %s, and in epoch %d of its repository it names %s", w.Repository, asked.Tag, short(w.Digest), e.Epoch.Epoch, or(short(names)))
		return doubt
	}
	return nil
}

// never makes sure that nothing was seen of a repository of which a server has no
// state: else it could be as old as it likes by saying so.
func (p *program) never(ctx context.Context, repository string) error {
	v, err := p.vouches(ctx)
	if err != nil {
		return err
	}
	all, err := p.readSeen()
	if err != nil {
		return err
	}
	if before, known := all.Servers[originOf(v.name)][repository]; known {
		return &failure{
			code: exitDenied, what: fmt.Sprintf("the server says that %s has no state; expected at least epoch %d, which was seen on %s", repository, before.Epoch, before.At.UTC().Format(time.RFC3339)),
			next: "ask the server itself, not a mirror or a restored one; its operator: bonded trust recover",
		}
	}
	return nil
}
