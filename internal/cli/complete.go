package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/policy"
)

// completeTime bounds how long a shell waits for a server.
const completeTime = 2 * time.Second

// fixed completes from a fixed set of words.
func fixed(words ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// firstOnly completes the first argument alone.
func firstOnly(f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, start)
	}
}

// asked completes with what a server says; where it does not answer in time
// there is nothing to offer, and no error to show in the middle of a line.
func (p *program) asked(cmd *cobra.Command, ask func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
	defer cancel()
	c, _, err := p.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := ask(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (p *program) completeZones(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return p.asked(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		zones, err := c.Zones(ctx)
		var names []string
		for _, z := range zones {
			names = append(names, z.Name)
		}
		return names, err
	})
}

// completeReferences offers the zones that references start with, then the
// repositories of one, and behind a colon the tags of one.
func (p *program) completeReferences(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	repository, _, tag := strings.Cut(start, ":")
	if !tag {
		return p.completeListed(cmd, args, start)
	}
	return p.asked(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		a, err := c.Artifacts(ctx, client.ListQuery{Repository: repository})
		if err != nil {
			return nil, err
		}
		var refs []string
		for _, x := range a.Items {
			for _, t := range x.Tags {
				refs = append(refs, repository+":"+t)
			}
		}
		return refs, nil
	})
}

// completeListed offers zones, and then the repositories of one.
func (p *program) completeListed(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	zone, _, inside := strings.Cut(start, "/")
	if !inside {
		zones, how := p.completeZones(cmd, args, start)
		for i := range zones {
			zones[i] += "/"
		}
		return zones, how | cobra.ShellCompDirectiveNoSpace
	}
	names, how := p.asked(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		a, err := c.Repositories(ctx, zone, "", 1000)
		if err != nil {
			return nil, err
		}
		var names []string
		for _, r := range a.Items {
			if strings.HasPrefix(r.Name, start) {
				names = append(names, r.Name)
			}
		}
		return names, nil
	})
	return names, how | cobra.ShellCompDirectiveNoSpace
}

// none completes nothing: what stands there is no file.
func none(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func (p *program) completeGates(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	names, _ := p.asked(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		gates, err := c.Gates(ctx)
		var names []string
		for _, g := range gates {
			names = append(names, g.Name)
		}
		return names, err
	})
	if len(names) == 0 {
		names = policy.Shipped()
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (p *program) completePrincipals(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return p.asked(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		var names []string
		for a, err := range c.Principals(ctx) {
			if err != nil {
				return nil, err
			}
			names = append(names, a.Name)
		}
		return names, nil
	})
}

// completeTokens offers the tokens of this account that are still good.
func (p *program) completeTokens(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return p.asked(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		a, err := c.Self(ctx)
		if err != nil {
			return nil, err
		}
		var ids []string
		for _, t := range a.Tokens {
			if t.Revoked.IsZero() && p.env.Clock().Before(t.Expires) {
				ids = append(ids, t.ID+"\t"+t.Label)
			}
		}
		return ids, nil
	})
}

// completeFeeds offers the feeds that the server knows.
func (p *program) completeFeeds(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return p.asked(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		feeds, err := c.Feeds(ctx)
		var names []string
		for _, f := range feeds {
			names = append(names, f.Name)
		}
		return names, err
	})
}

// completeServers offers the hosts of the logins.
func (p *program) completeServers(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	ls, err := p.readLogins()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return ls.hosts(), cobra.ShellCompDirectiveNoFileComp
}
