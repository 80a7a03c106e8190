package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
)

func (p *program) feed() *cobra.Command {
	return group("feed", "Where advisories come from, and how fresh they are", "  bonded feed list\n  bonded feed update",
		p.feedList(), p.feedUpdate(), p.feedLoad())
}

func (p *program) feedList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the feeds of advisories and the state of each",
		Example: "  bonded feed list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			feeds, err := c.Feeds(cmd.Context())
			if err != nil {
				return err
			}
			return show(p, feeds, func(pg *page, feeds []api.Feed) { pg.feeds(feeds) })
		},
	}
}

func (pg *page) feeds(feeds []api.Feed) {
	if len(feeds) == 0 {
		pg.line(pg.wait.Render("NOTHING LOADED"), " yet: bonded feed update, or without a network bonded feed load FOLDER")
		return
	}
	var rows [][]string
	for _, f := range feeds {
		rows = append(rows, []string{f.Name, pg.feedState(f), count(f.Records), count(f.Skipped), pg.ago(f.LoadedAt), f.Source})
	}
	pg.table(0, []column{{title: "FEED"}, {title: "STATE"}, {title: "ADVISORIES", right: true}, {title: "SKIPPED", right: true}, {title: "LOADED"}, {title: "SOURCE"}}, rows)
	for _, f := range feeds {
		if f.Problem != "" {
			pg.wrap(pg.bad.Render(f.Name)+": ", "  ", f.Problem)
		}
		for i, r := range f.Reasons {
			if i == factsShown {
				pg.more(2, len(f.Reasons)-i, "-o json")
				break
			}
			pg.wrap("  "+f.Name+" skipped: ", "    ", r)
		}
		if f.Held {
			pg.wrap("next: ", "  ", "look at the source, and if it is right: bonded feed update --force "+f.Name)
		}
	}
}

func (pg *page) feedState(f api.Feed) string {
	switch {
	case f.Held:
		return pg.wait.Render("held back")
	case f.Problem != "":
		return pg.bad.Render("problem")
	case f.LoadedAt.IsZero():
		return pg.wait.Render("never loaded")
	}
	return pg.good.Render("ok")
}

func (p *program) feedUpdate() *cobra.Command {
	var req api.FeedUpdate
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Load what the feeds have, now",
		Long: `Have the server load all feeds that changed, and judge again what they touch.
A feed that lost many records is held back and the last good state stays,
until it is named with --force.`,
		Example: "  bonded feed update\n  bonded feed update --force osv",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.runFeedUpdate(cmd.Context(), req)
		},
	}
	cmd.Flags().StringArrayVar(&req.Force, "force", nil, "take this `FEED` although it lost many records; repeat it for more")
	return cmd
}

func (p *program) runFeedUpdate(ctx context.Context, req api.FeedUpdate) error {
	c, _, err := p.connect(ctx)
	if err != nil {
		return err
	}
	bars := p.feedBars()
	defer bars.done()
	for u, err := range c.UpdateFeeds(ctx, req) {
		if err != nil {
			return err
		}
		if u.Done == nil {
			bars.update(u)
			continue
		}
		bars.done()
		if anyHeld(u.Feeds) {
			p.outcome = exitCannotTell
		}
		return show(p, u, func(pg *page, u api.FeedProgress) {
			pg.loaded(u.Done)
			if len(u.Feeds) > 0 {
				pg.line()
				pg.feeds(u.Feeds)
			}
		})
	}
	return fmt.Errorf("updating feeds: the server ended its answer before the update")
}

func anyHeld(feeds []api.Feed) bool {
	for _, f := range feeds {
		if f.Held {
			return true
		}
	}
	return false
}

func (pg *page) loaded(s *api.Snapshot) {
	pg.line(pg.good.Render("LOADED"), "  ", many(s.Advisories, "advisory", "advisories"), "  ", pg.faint.Render(fmt.Sprintf("snapshot %d, %s", s.Seq, short(s.Digest))))
}

func (p *program) feedLoad() *cobra.Command {
	var at dataFlags
	cmd := &cobra.Command{
		Use:   "load FOLDER",
		Short: "Load advisories from a folder into a server that is not running",
		Long: `Load advisories from a folder in the layout of osv.dev into the database of a
server on this machine, which must not be running: for an air gap, or to
prepare a server before its first start. A running server takes a folder as a
feed (feeds in the configuration, or bonded serve --feed FOLDER).`,
		Example: "  bonded feed load /media/stick/osv\n  bonded feed load ./osv --data /srv/bonded",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if p.env.LoadFeed == nil {
				return absent("load advisories")
			}
			cfg, err := p.loadConfig(at)
			if err != nil {
				return err
			}
			bars := p.feedBars()
			s, err := p.env.LoadFeed(cmd.Context(), cfg, args[0], bars.update)
			bars.done()
			if err != nil {
				return err
			}
			return show(p, s, func(pg *page, s *api.Snapshot) { pg.loaded(s) })
		},
	}
	at.add(p, cmd)
	return cmd
}
