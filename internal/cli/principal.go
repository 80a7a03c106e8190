package cli

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/authz"
)

func (p *program) principal() *cobra.Command {
	return group("principal", "Who may do what: people and machines, and their grants",
		"  bonded principal list\n  bonded principal invite ann developer=dev/**",
		p.principalList(), p.principalShow(), p.principalInvite(), p.principalGrant(),
		p.principalSwitch("disable", "End a principal's right to log in, at once", (*client.Client).Disable),
		p.principalSwitch("enable", "Give a disabled principal its right to log in back", (*client.Client).Enable))
}

func (p *program) principalList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the principals",
		Example: "  bonded principal list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			all := []api.Account{}
			for a, err := range c.Principals(cmd.Context()) {
				if err != nil {
					return err
				}
				all = append(all, a)
			}
			return show(p, all, func(pg *page, all []api.Account) {
				var rows [][]string
				for _, a := range all {
					kind, state := "machine", "–"
					if a.Human {
						kind = "person"
					}
					if !a.Disabled.IsZero() {
						state = pg.bad.Render("disabled")
					}
					rows = append(rows, []string{a.Name, kind, state, a.Created.Format(time.DateOnly), list(a.Grants)})
				}
				pg.table(0, []column{{title: "PRINCIPAL"}, {title: "KIND"}, {title: "STATE"}, {title: "SINCE"}, {title: "GRANTS"}}, rows)
			})
		},
	}
}

func (p *program) principalShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Say what a principal may do, and which tokens it has",
		Example:           "  bonded principal show ann",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completePrincipals),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			a, err := c.Principal(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.showAccount(a)
		},
	}
}

func (p *program) showAccount(a *api.Account) error {
	return show(p, a, func(pg *page, a *api.Account) {
		pg.line(pg.bold.Render(a.Name))
		pg.account(a)
		if len(a.Tokens) > 0 {
			pg.line()
			pg.tokens(a.Tokens)
		}
	})
}

// checkGrants reads grants before anything is sent.
func checkGrants(grants []string) error {
	for _, g := range grants {
		if _, err := authz.ParseGrant(g); err != nil {
			return &failure{code: exitUsage, what: err.Error(), next: "write ROLE=PATTERN, such as developer=dev/** or reader=production/payments/*", cause: err}
		}
	}
	return nil
}

func (p *program) principalInvite() *cobra.Command {
	var (
		req     api.InviteRequest
		machine bool
	)
	cmd := &cobra.Command{
		Use:   "invite NAME [ROLE=PATTERN]...",
		Short: "Make an account, and a code for its owner to enrol with",
		Long: `Make an account with grants, and print the one-time code by which its owner
enrols. For an account that exists the grants are replaced, so repeat those
that are to stay; bonded principal grant changes single ones.

Roles: reader, developer, publisher, operator, security, auditor, admin. In a
pattern * stands for one path segment and ** at the end for all that follow.`,
		Example: `  bonded principal invite ann developer=dev/** reader=production/**
  bonded principal invite deployer reader=production/** --machine --ttl 1h`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: firstOnly(p.completePrincipals),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Name, req.Grants, req.Human = args[0], args[1:], !machine
			if err := checkGrants(req.Grants); err != nil {
				return err
			}
			c, l, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			inv, err := c.Invite(cmd.Context(), req)
			if err != nil {
				return err
			}
			return show(p, inv, func(pg *page, inv *api.Invite) {
				pg.line("code for ", pg.bold.Render(inv.Name), "  ", pg.bold.Render(inv.Code), "  valid for ", pg.validity(inv.Expires), ", shown once")
				pg.line()
				trust := ""
				if block, _ := pem.Decode([]byte(l.CA)); block != nil {
					trust = fmt.Sprintf(" --fingerprint %x", sha256.Sum256(block.Bytes))
				}
				pg.line("its owner enrols with: bonded login ", l.URL, " --code ", inv.Code, trust)
			})
		},
	}
	cmd.Flags().BoolVar(&machine, "machine", false, "a machine, not a person: its tokens live longer")
	cmd.Flags().StringVar(&req.TTL, "ttl", "", "how long the code is to be good, a `TIME` such as 1h (default: 15m)")
	return cmd
}

func (p *program) principalGrant() *cobra.Command {
	var remove []string
	cmd := &cobra.Command{
		Use:               "grant NAME [ROLE=PATTERN]...",
		Short:             "Give roles to a principal, or take them away",
		Example:           "  bonded principal grant ann reader=production/**\n  bonded principal grant ann --remove developer=dev/**",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: firstOnly(p.completePrincipals),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := api.GrantRequest{Add: args[1:], Remove: remove}
			if len(req.Add)+len(req.Remove) == 0 {
				return usage("bonded principal grant "+args[0]+" ROLE=PATTERN", "neither a grant to give nor one to take away")
			}
			if err := checkGrants(req.Add); err != nil {
				return err
			}
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			a, err := c.Grant(cmd.Context(), args[0], req)
			if err != nil {
				return err
			}
			return p.showAccount(a)
		},
	}
	cmd.Flags().StringArrayVar(&remove, "remove", nil, "take this grant (`ROLE=PATTERN`) away; repeat it for more")
	return cmd
}

// principalSwitch is disable or enable.
func (p *program) principalSwitch(verb, short string, do func(*client.Client, context.Context, string) (*api.Account, error)) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " NAME",
		Short:             short,
		Example:           "  bonded principal " + verb + " ann",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completePrincipals),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			a, err := do(c, cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.showAccount(a)
		},
	}
}

func (p *program) token() *cobra.Command {
	return group("token", "The secrets by which clients log in to an account", "  bonded token list\n  bonded token create --label ci",
		p.tokenList(), p.tokenCreate(), p.tokenRevoke(), p.tokenRotateKey())
}

func (p *program) tokenList() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the tokens of this account, or of another",
		Example: "  bonded token list\n  bonded token list --principal ann",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			var a *api.Account
			if name == "" {
				a, err = c.Self(cmd.Context())
			} else {
				a, err = c.Principal(cmd.Context(), name)
			}
			if err != nil {
				return err
			}
			tokens := a.Tokens
			if tokens == nil {
				tokens = []api.Token{}
			}
			return show(p, tokens, func(pg *page, tokens []api.Token) { pg.tokens(tokens) })
		},
	}
	cmd.Flags().StringVar(&name, "principal", "", "of this principal (`NAME`), as an administrator")
	p.must(cmd.RegisterFlagCompletionFunc("principal", p.completePrincipals))
	return cmd
}

func (pg *page) tokens(tokens []api.Token) {
	if len(tokens) == 0 {
		pg.line("no tokens")
		return
	}
	var rows [][]string
	for _, t := range tokens {
		state := pg.good.Render("good")
		switch {
		case !t.Revoked.IsZero():
			state = pg.bad.Render("revoked")
		case pg.now.After(t.Expires):
			state = pg.bad.Render("ended")
		}
		rows = append(rows, []string{t.ID, t.Label, state, t.Expires.Format(time.DateOnly), pg.ago(t.Used), list(t.Scope)})
	}
	pg.table(0, []column{{title: "TOKEN"}, {title: "LABEL"}, {title: "STATE"}, {title: "ENDS"}, {title: "USED"}, {title: "SCOPE"}}, rows)
}

func (p *program) tokenCreate() *cobra.Command {
	var req api.TokenRequest
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a further, perhaps narrower, token of this account",
		Long: `Make a further token of this account and print it. It can be narrower than the
account (--scope) and never lives longer than the token it is made with.`,
		Example: "  bonded token create --label ci --scope developer=dev/payments/** --ttl 720h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkGrants(req.Scope); err != nil {
				return err
			}
			c, l, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			e, err := c.NewToken(cmd.Context(), req)
			if err != nil {
				return err
			}
			return show(p, e, func(pg *page, e *api.Enrolled) {
				pg.line("name    ", pg.bold.Render(e.Name))
				pg.line("secret  ", pg.bold.Render(e.Secret), "   shown once, ends ", pg.ago(e.Expires))
				if len(e.Beyond) > 0 {
					pg.wrap(pg.wait.Render("narrower")+"  ", "          ", list(e.Beyond)+" is more than this account may; the token gives what the account has of it: bonded whoami")
				}
				pg.line()
				pg.line("for docker: docker login ", l.Host, " -u ", e.Name, " --password-stdin")
			})
		},
	}
	cmd.Flags().StringVar(&req.Label, "label", "", "what it is for, as lists show it: a `TEXT`")
	cmd.Flags().StringArrayVar(&req.Scope, "scope", nil, "only this (`ROLE=PATTERN`); repeat it for more (default: all the account may)")
	cmd.Flags().StringVar(&req.TTL, "ttl", "", fmt.Sprintf("how long it is to be good, a `TIME` such as 24h (default: %d days, at most as long as this login)", api.TokenTTL/(24*time.Hour)))
	p.must(cmd.MarkFlagRequired("label"))
	return cmd
}

func (p *program) tokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use:               "revoke TOKEN",
		Short:             "End a token at once, by its id",
		Example:           "  bonded token revoke 7f3a9c21",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeTokens),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.Revoke(cmd.Context(), args[0]); err != nil {
				return err
			}
			return show(p, map[string]string{"revoked": args[0]}, func(pg *page, _ map[string]string) {
				pg.line("token ", fmt.Sprintf("%.64s", args[0]), " is revoked")
			})
		},
	}
}

func (p *program) tokenRotateKey() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-key",
		Short: "Replace the key that the server signs short-lived tokens with",
		Long: `Have the server make the key anew that it signs the tokens of the registry's
token flow with, which live for minutes. Those under the key before stay good
until they end, so nobody is interrupted; the server does the same by itself
every 30 days. Secrets that people and machines log in with are not touched:
bonded token revoke ends one of those.`,
		Example: "  bonded token rotate-key",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			k, err := c.RotateKey(cmd.Context())
			if err != nil {
				return err
			}
			return show(p, k, func(pg *page, k *api.SigningKey) {
				pg.line(pg.good.Render("ROTATED"), "  key ", k.ID, " signs from now on")
				if k.Replaces != "" {
					pg.line("  tokens under ", k.Replaces, " end until ", moment(k.ReplacedUntil))
				}
			})
		},
	}
}
