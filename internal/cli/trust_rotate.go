package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/trust"
)

// RotateRequest says which keys of a server on this machine are replaced. With
// nothing to replace, what is there is published again.
type RotateRequest struct {
	Slots []string
	// OfflineKeys is the offline file. "" takes the one that was never moved away.
	OfflineKeys string
	Passphrase  []byte // of it
	// NewOfflineKeys is where another offline file goes, and NewPassphrase
	// encrypts it.
	NewOfflineKeys string
	NewPassphrase  []byte
	Chain          []byte   // PEM: makes the root key subordinate
	Forget         []string // IDs of log keys that are not trusted any more
	Abandon        bool     // also what only those keys prove
	AtOnce         bool     // what is replaced is not good for new signatures from now on
	// GiveUp: the logs go on from what the database has, under new keys, although
	// the head store knows more of them.
	GiveUp bool
	// Above is the largest epoch of a repository that somebody has seen, as their
	// refusals name it; 0 where the clock of this machine is right.
	Above int64
	// Request: nothing is replaced, and a certificate signing request is made.
	Request bool
}

// Rotated is what became of it.
type Rotated struct {
	Origin   string         `json:"origin"`
	Replaced []string       `json:"replaced"`
	Request  string         `json:"request,omitempty"` // PEM
	Expiries []trust.Expiry `json:"expiries"`
	Notes    []string       `json:"notes,omitempty"`
}

// rotateFlags are the flags of bonded trust rotate and recover.
type rotateFlags struct {
	dataFlags
	RotateRequest
	passphrase, newPassphrase, chain string
}

func (f *rotateFlags) addOffline(p *program, cmd *cobra.Command) {
	f.add(p, cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.OfflineKeys, "offline-keys", "", "`FILE` with the offline keys, as bonded init wrote it")
	flags.StringVar(&f.passphrase, "passphrase-file", "", "`FILE` with the passphrase of the offline keys, where they are encrypted")
	p.must(cmd.MarkFlagFilename("offline-keys", "json"))
}

// request reads the files that flags name.
func (f *rotateFlags) request() (RotateRequest, error) {
	r := f.RotateRequest
	for _, secret := range []struct {
		file string
		into *[]byte
	}{{f.passphrase, &r.Passphrase}, {f.newPassphrase, &r.NewPassphrase}} {
		if secret.file == "" {
			continue
		}
		text, err := config.Path(secret.file).ReadSecret()
		if err != nil {
			return r, err
		}
		*secret.into = []byte(text)
	}
	if f.chain == "" {
		return r, nil
	}
	var err error
	if r.Chain, err = os.ReadFile(f.chain); err != nil {
		return r, fmt.Errorf("reading the chain: %w", err)
	}
	return r, nil
}

func (p *program) trustRotate() *cobra.Command {
	var f rotateFlags
	cmd := &cobra.Command{
		Use:   "rotate [SLOT…]",
		Short: "Replace keys and certificates of the server on this machine",
		Long: `Replace keys of the server on this machine, with the offline keys: clients
learn of the new ones from what those sign. What was signed before stays good. A
server that runs takes over by itself within seconds.

Slots: ` + slotList() + `.
Without a slot, what is there is published again: after the server's URL
changed, or when the offline keys' signatures come to their end.

A log key that leaked is rotated with --at-once. It is forgotten with --forget
when the server has proved its decisions anew under the new one, which it does
by itself: until then that is refused. What others signed and logged under it
verifies no more, unless they sign it again.

The root key becomes subordinate to a company's authority in two steps:
--request prints a certificate signing request, and --chain takes the answer,
the certificate of the root key first and the company's root last.`,
		Example: `  bonded trust rotate ca-intermediate tsa --offline-keys /media/usb/keys.json
  bonded trust rotate --offline-keys /media/usb/keys.json
  bonded trust rotate ca-root --offline-keys a.json --new-offline-keys b.json
  bonded trust rotate --forget 5f0c2a… --offline-keys /media/usb/keys.json
  bonded trust rotate --request --offline-keys /media/usb/keys.json > root.csr
  bonded trust rotate --chain chain.pem --offline-keys /media/usb/keys.json`,
		ValidArgsFunction: fixed(slotNames()...),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Slots = args
			return p.runRotate(cmd.Context(), &f)
		},
	}
	f.addOffline(p, cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.NewOfflineKeys, "new-offline-keys", "", "`FILE` for the offline keys when ca-root, tuf-root or tuf-targets are replaced")
	flags.StringVar(&f.newPassphrase, "new-passphrase-file", "", "`FILE` with the passphrase to encrypt those with")
	flags.StringVar(&f.chain, "chain", "", "`FILE` with the chain over the root key, in PEM")
	flags.StringArrayVar(&f.Forget, "forget", nil, "`ID` of a replaced log key whose signatures are not to be trusted any more; repeat it for more")
	flags.BoolVar(&f.Abandon, "abandon", false, "with --forget: give up what is proved under that key alone")
	flags.BoolVar(&f.AtOnce, "at-once", false, "after a theft: what is replaced is good for no new signature from now on, instead of for one more day")
	flags.BoolVar(&f.Request, "request", false, "print a certificate signing request for the root key, and replace nothing")
	cmd.MarkFlagsMutuallyExclusive("request", "chain")
	return cmd
}

func (p *program) trustRecover() *cobra.Command {
	f := rotateFlags{RotateRequest: RotateRequest{GiveUp: true}}
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Go on with an older database, under new keys for the logs",
		Long: `Go on with a database that was restored from a backup and is older than what
the head store knows. The logs continue from what the database has, under new
keys, so that nobody can take the two histories for one: what was signed under
the old keys stays good, and entries that the database lost can be found nowhere
any more. The epochs of all repositories become larger than any before, so that
who has seen newer states goes by these again.

Bring back the newest database instead, where there is one. Witnesses have to
be told that these logs begin anew.`,
		Example: "  bonded trust recover --offline-keys /media/usb/keys.json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.runRotate(cmd.Context(), &f) },
	}
	f.addOffline(p, cmd)
	cmd.Flags().Int64Var(&f.Above, "above", 0, "also above this `EPOCH`, which a client has refused to go below")
	return cmd
}

func (p *program) runRotate(ctx context.Context, f *rotateFlags) error {
	if p.env.Rotate == nil {
		return absent("replace keys")
	}
	cfg, err := p.loadConfig(f.dataFlags)
	if err != nil {
		return err
	}
	r, err := f.request()
	if err != nil {
		return err
	}
	out, err := p.env.Rotate(ctx, cfg, r)
	if err != nil {
		return err
	}
	if r.Request && p.output == outputText {
		_, err := p.io.Out.Write([]byte(out.Request))
		return written(err)
	}
	return show(p, out, func(pg *page, r *Rotated) { pg.rotated(r) })
}

func (pg *page) rotated(r *Rotated) {
	if len(r.Replaced) == 0 {
		pg.line(pg.good.Render("Published"), "  what ", r.Origin, " is trusted by")
	} else {
		pg.line(pg.good.Render("Replaced"), "  ", list(r.Replaced), " of ", r.Origin)
	}
	for _, e := range r.Expiries {
		pg.fact(e.What, "good until "+e.At.Format(time.DateOnly))
	}
	for _, n := range r.Notes {
		pg.wrap("  – ", "    ", n)
	}
}

// slotNames are the keys that can be replaced.
func slotNames() []string {
	var names []string
	for _, s := range append(trust.Slots(), trust.Root, trust.TUFRoot, trust.TUFTargets) {
		names = append(names, string(s))
	}
	return names
}

// slotList breaks them for help.
func slotList() string {
	names := slotNames()
	half := len(names) / 2
	return strings.Join(names[:half], ", ") + ",\n" + strings.Join(names[half:], ", ")
}
