package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/oci"
)

// seenFile is the file, in the folder of what this user has seen, that keeps the
// newest state of each repository: see docs/format/epoch.md.
const seenFile = "epochs.json"

// maxSeen bounds that file, in bytes.
const maxSeen = 64 << 20

// seen is what it holds: by the origin of a server (scheme://host[:port]) and by
// repository.
type seen struct {
	Version int                             `json:"version"` // 1
	Servers map[string]map[string]seenEpoch `json:"servers"`
}

// seenEpoch is the newest state that was seen.
type seenEpoch struct {
	Epoch  int64     `json:"epoch"`
	Digest string    `json:"digest"` // of the state
	At     time.Time `json:"at"`     // when its document was made
}

// skew is how far ahead of this machine's clock a document may have been made.
const skew = 10 * time.Minute

func (p *program) readSeen() (seen, error) {
	s := seen{Version: 1, Servers: map[string]map[string]seenEpoch{}}
	name := filepath.Join(p.stateDir(), seenFile)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	var b []byte
	if err == nil && info.Size() > maxSeen {
		err = fmt.Errorf("it has %d bytes, at most %d", info.Size(), maxSeen)
	}
	if err == nil {
		b, err = os.ReadFile(name)
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil && s.Version != 1 {
		err = fmt.Errorf("it is of version %d, this program knows 1", s.Version)
	}
	if err != nil {
		// To begin anew would be to believe whatever comes next.
		return s, fmt.Errorf("reading what was seen before in %s: %w; if it is lost, remove it: then nothing older is noticed", name, err)
	}
	return s, nil
}

// originOf is scheme and host of a URL in lower case, by which servers are told
// apart.
func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return strings.ToLower(raw)
	}
	return strings.ToLower(u.Scheme + "://" + u.Host)
}

// fresh holds the state of a repository of a server against what was seen of it,
// and keeps it if it is newer. It refuses, with exitDenied, that of another
// repository, of which nothing may have been seen, a state that is older
// than one that was seen, another one of the same number, and one that has
// expired; with exitCannotTell one from a time that this machine's clock does not
// know yet. It does not verify the proof: who does calls it after.
func (p *program) fresh(server, repository string, e *api.Epoch) error {
	all, err := p.readSeen()
	if err != nil {
		return err
	}
	if e.Repository != repository {
		return &failure{code: exitDenied, what: fmt.Sprintf("asked for the state of %s, the server answers with that of %s", repository, oci.Quote(e.Repository))}
	}
	origin := originOf(server)
	before, known := all.Servers[origin][e.Repository]
	if err := notFresh(e, before, p.env.Clock()); err != nil {
		return err
	}
	if known && before.Epoch == e.Epoch && !e.At.After(before.At) {
		return nil
	}
	if all.Servers == nil {
		all.Servers = map[string]map[string]seenEpoch{}
	}
	if all.Servers[origin] == nil {
		all.Servers[origin] = map[string]seenEpoch{}
	}
	all.Servers[origin][e.Repository] = seenEpoch{Epoch: e.Epoch, Digest: e.Digest, At: e.At}
	b, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = writePrivate(filepath.Join(p.stateDir(), seenFile), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keeping what was seen: %w", err)
	}
	return nil
}

// notFresh says why a state is not to be gone by; before is zero where none was
// seen. A clock that was set back brings nothing back: it cannot be earlier than
// what was seen was made.
func notFresh(e *api.Epoch, before seenEpoch, now time.Time) error {
	if now.Before(before.At) {
		now = before.At
	}
	stale := func(code exitCode, format string, operands ...any) error {
		what := fmt.Sprintf("the state of %s is not to be gone by: ", e.Repository) + fmt.Sprintf(format, operands...)
		return &failure{code: code, what: what, next: "ask the server itself, not a mirror or a restored one; its operator: bonded trust recover"}
	}
	switch {
	case e.Epoch < before.Epoch:
		return stale(exitDenied, "it is epoch %d, expected at least epoch %d, which was seen on %s", e.Epoch, before.Epoch, before.At.UTC().Format(time.RFC3339))
	case e.Epoch == before.Epoch && e.Digest != before.Digest:
		return stale(exitDenied, "epoch %d was another state when it was seen on %s: %s, and now %s; expected at least epoch %d", e.Epoch, before.At.UTC().Format(time.RFC3339), before.Digest, e.Digest, before.Epoch+1)
	case !now.Before(e.Expires):
		return stale(exitDenied, "epoch %d expired on %s; expected at least epoch %d, in a document that has not expired", e.Epoch, e.Expires.UTC().Format(time.RFC3339), max(e.Epoch, before.Epoch))
	case e.At.After(now.Add(skew)):
		return stale(exitCannotTell, "epoch %d was made on %s, and the clock of this machine says %s", e.Epoch, e.At.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

func (p *program) epoch() *cobra.Command {
	return &cobra.Command{
		Use:   "epoch REPOSITORY|REFERENCE",
		Short: "Say whether the state of a repository is older than one seen",
		Long: `Ask the server for the state of a repository and its number, the epoch, which
grows with each change. The newest that this user has seen is kept: an older
one, another one of the same number, and one that has expired are refused, as
after a restored backup, or from a mirror that was stopped.

Exits with 0 when it is current, 1 when it is refused, 3 when the clocks of the
two machines do not agree.`,
		Example: "  bonded epoch production/payments/api\n  bonded epoch production/payments/api:1.8",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: firstOnly(p.completeReferences),
		RunE: func(cmd *cobra.Command, args []string) error { return p.runEpoch(cmd.Context(), args[0]) },
	}
}

func (p *program) runEpoch(ctx context.Context, arg string) error {
	c, l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	ref, err := oci.ParseReference(reference(arg, l))
	if err != nil {
		return err
	}
	e, err := c.Epoch(ctx, ref.Repository.String(), ref.Tag != "")
	if err != nil {
		return sought(err, arg, l)
	}
	if ref.Tag != "" && api.StateDigest(e.State) != e.Digest {
		return &failure{code: exitDenied, what: fmt.Sprintf("the lines of the state of %s are not those of its digest %s", ref.Repository, e.Digest)}
	}
	if err := p.fresh(l.URL, ref.Repository.String(), &e.Epoch); err != nil {
		return err
	}
	return show(p, e, func(pg *page, e *api.RepositoryEpoch) { pg.epoch(e, ref.Tag) })
}

func (pg *page) epoch(e *api.RepositoryEpoch, tag string) {
	pg.line(pg.good.Render("CURRENT"), "  ", pg.bold.Render(e.Repository), "  epoch ", count(e.Epoch.Epoch))
	pg.line("  tags        ", count(e.Tags))
	pg.line("  placements  ", count(e.Placements))
	pg.line("  made        ", pg.ago(e.At), ", to be gone by until ", e.Expires.UTC().Format("2006-01-02 15:04 UTC"))
	if tag != "" {
		pg.line("  ", tag, " names ", or(api.TagIn(e.State, tag)))
	}
	if !e.Proven {
		pg.wrap("  proof       ", "              ", "none yet: "+e.Text)
		return
	}
	pg.line("  proof       batch ", count(e.Batch.Number), ", leaf ", count(e.Index))
}

// current makes sure that what a server says of an artifact is no older than what
// was seen of its repository, and is what the state of that says. A repository
// that never had an epoch, such as a sandbox, cannot be held against anything.
// asked is what the user named.
func (p *program) current(ctx context.Context, c *client.Client, l login, asked string, w *api.Why) error {
	ref, err := oci.ParseReference(reference(asked, l))
	if err != nil {
		ref = oci.Reference{} // a digest alone
	}
	if !ref.Repository.IsZero() && ref.Repository.String() != w.Repository {
		return &failure{code: exitDenied, what: fmt.Sprintf("asked about %s, the server answers about %s", ref.Repository, oci.Quote(w.Repository))}
	}
	e, err := c.Epoch(ctx, w.Repository, true)
	var refused *client.Error
	if errors.As(err, &refused) && refused.Code == "not-found" {
		return p.neverSeen(l.URL, w.Repository)
	}
	if err != nil {
		return err
	}
	if api.StateDigest(e.State) != e.Digest {
		return &failure{code: exitDenied, what: fmt.Sprintf("the lines of the state of %s are not those of its digest %s", w.Repository, e.Digest)}
	}
	if err := p.fresh(l.URL, w.Repository, &e.Epoch); err != nil {
		return err
	}
	if named := api.TagIn(e.State, ref.Tag); ref.Tag != "" && ref.Digest.IsZero() && named != "" && named != w.Digest {
		return &failure{
			code: exitCannotTell, what: fmt.Sprintf("%s names %s, and in epoch %d of its repository %s", asked, short(w.Digest), e.Epoch.Epoch, short(named)),
			next: "it may have moved just now: try again",
		}
	}
	stands := api.PlacedIn(e.State, w.Digest)
	if w.State == stands || w.State != "admitted" && stands == "" {
		return nil
	}
	return &failure{
		code: exitCannotTell, what: fmt.Sprintf("%s@%s is %s, and in epoch %d of its repository %s", w.Repository, short(w.Digest), w.State, e.Epoch.Epoch, or(stands)),
		next: "it may have changed just now: try again",
	}
}

// neverSeen refuses a repository that has no state now and had one: whoever
// replays an old answer would only have to leave it out.
func (p *program) neverSeen(server, repository string) error {
	all, err := p.readSeen()
	if err != nil {
		return err
	}
	before, known := all.Servers[originOf(server)][repository]
	if !known {
		return nil
	}
	return &failure{
		code: exitDenied, what: fmt.Sprintf("the server has no state of %s, expected at least epoch %d, which was seen on %s", repository, before.Epoch, before.At.UTC().Format(time.RFC3339)),
		next: "ask the server itself, not a mirror or a restored one; its operator: bonded trust recover",
	}
}
