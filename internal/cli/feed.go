package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/vuln/feed"
)

func (p *program) feed() *cobra.Command {
	return group("feed", "Where advisories come from, and how fresh they are", "  bonded feed list\n  bonded feed update",
		p.feedList(), p.feedUpdate(), p.feedLoad(), p.feedDrop())
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
		rows = append(rows, []string{f.Name, cmp.Or(f.Format, config.FormatOSV), pg.feedState(f), count(f.Records), count(f.Skipped), pg.ago(f.LoadedAt), f.Source})
	}
	pg.table(0, []column{{title: "FEED"}, {title: "FORMAT", drop: true}, {title: "STATE"}, {title: "ENTRIES", right: true}, {title: "SKIPPED", right: true}, {title: "LOADED"}, {title: "SOURCE"}}, rows)
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
		if f.LoadedAt.IsZero() && f.Problem == "" {
			pg.wrap("next: ", "  ", "bonded feed update "+f.Name)
		}
		if f.Held {
			take := "bonded feed update --force " + f.Name
			if name, _, _ := strings.Cut(f.Name, "/"); name == config.LoadedFeed {
				take = "bonded feed load FOLDER --force"
			}
			pg.wrap("next: ", "  ", "look at the source, and if it is right: "+take)
		}
	}
}

func (pg *page) feedState(f api.Feed) string {
	switch {
	case f.Gone:
		return pg.faint.Render("gone")
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
		Use:     "update [FEED…]",
		Aliases: []string{"refresh"},
		Short:   "Load what the feeds have, now",
		Long: `Have the server load the feeds named, or all, where they changed, and judge
again what they touch. A feed that lost many records is held back and the last
good state stays, until it is named with --force.`,
		Example:           "  bonded feed update\n  bonded feed update osv/Debian\n  bonded feed update --force osv",
		ValidArgsFunction: p.completeFeeds,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Feeds = args
			return p.changeFeeds(cmd.Context(), func(ctx context.Context, c *client.Client) iter.Seq2[api.FeedProgress, error] {
				return c.UpdateFeeds(ctx, req)
			})
		},
	}
	cmd.Flags().StringArrayVar(&req.Force, "force", nil, "take this `FEED` although it lost many records; repeat it for more")
	return cmd
}

// changeFeeds shows the progress of what changes the advisories in force, and
// what came of it.
func (p *program) changeFeeds(ctx context.Context, change func(context.Context, *client.Client) iter.Seq2[api.FeedProgress, error]) error {
	c, _, err := p.connect(ctx)
	if err != nil {
		return err
	}
	bars, read := p.feedBars(), map[string]bool{}
	defer bars.done()
	for u, err := range change(ctx, c) {
		if err != nil {
			return err
		}
		if u.Done == nil {
			if u.Bytes == 0 { // else it is still fetched
				read[u.Feed] = true
			}
			bars.update(u)
			continue
		}
		bars.done()
		nothing := unreadable(u.Feeds, read)
		switch {
		case anyHeld(u.Feeds):
			p.outcome = exitCannotTell
		case nothing:
			p.outcome = exitUsage
		}
		return show(p, u, func(pg *page, u api.FeedProgress) {
			if nothing {
				pg.line(pg.bad.Render("NOTHING LOADED"), "  no record of ", list(sorted(read)), " could be read")
			} else {
				pg.loaded(u.Done)
			}
			if len(u.Feeds) > 0 {
				pg.line()
				pg.feeds(u.Feeds)
			}
		})
	}
	return fmt.Errorf("updating feeds: the server ended its answer before the update")
}

// unreadable reports whether something was read, and no record of it was one.
func unreadable(feeds []api.Feed, read map[string]bool) bool {
	skipped := false
	for _, f := range feeds {
		if !read[f.Name] {
			continue
		}
		if f.Records > 0 || f.Skipped == 0 {
			return false
		}
		skipped = true
	}
	return skipped
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
	if s.Digest == "" {
		pg.line("LOADED no advisories: none are in force")
		return
	}
	pg.line(pg.good.Render("LOADED"), "  ", many(s.Advisories, "advisory", "advisories"), "  ", pg.faint.Render(fmt.Sprintf("snapshot %d, %s", s.Seq, short(s.Digest))))
}

func (p *program) feedLoad() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "load FOLDER",
		Short: "Load advisories and more from a folder on this machine",
		Long: `Send a folder to the server, which loads it: for an air gap. It holds advisories
in the layout of osv.dev, CISA's known_exploited_vulnerabilities.json, FIRST's
epss_scores-DATE.csv.gz or the API of endoflife.date as a folder endoflife. The
feeds are named loaded/ECOSYSTEM, loaded/kev, loaded/epss and loaded/endoflife,
and replace those of the same name that were loaded before; they
stay in force until they are loaded again, or dropped with bonded feed drop. A
folder on the server's own machine can be a feed of the configuration instead.`,
		Example: "  bonded feed load /media/stick/osv\n  bonded feed load ./osv --force",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.runFeedLoad(cmd.Context(), args[0], force) },
	}
	cmd.Flags().BoolVar(&force, "force", false, "take feeds although they lost many records")
	return cmd
}

func (p *program) runFeedLoad(ctx context.Context, dir string, force bool) error {
	sent, err := feed.Sendable(ctx, dir)
	if err != nil {
		return usage("name a folder of advisories, or one with a file as CISA or FIRST name it", "%v", err)
	}
	var failed error // what kept the folder from being sent
	err = p.changeFeeds(ctx, func(ctx context.Context, c *client.Client) iter.Seq2[api.FeedProgress, error] {
		return func(yield func(api.FeedProgress, error) bool) {
			steps := p.steps()
			steps.step(fmt.Sprintf("sending %s, %s", many(sent.Files, "file", "files"), bytesOf(sent.Bytes)))
			folder, stop := sending(ctx, dir)
			folder = &counted{r: folder, total: sent.Bytes, tell: steps.bytes}
			defer func() { failed = stop() }()
			defer steps.done()
			for u, err := range c.LoadFeed(ctx, folder, force) {
				steps.done()
				if !yield(u, err) {
					return
				}
			}
		}
	})
	if err != nil && failed != nil && ctx.Err() == nil {
		return failed
	}
	return err
}

// sending returns a folder as it is sent. stop ends that and returns what went
// wrong with the folder, nil for nothing.
func sending(ctx context.Context, dir string) (folder io.Reader, stop func() error) {
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := feed.Send(ctx, w, dir)
		w.CloseWithError(err)
		ended <- err
	}()
	return r, func() error {
		r.CloseWithError(errNotWanted) // the server may have answered before it read all
		if err := <-ended; !errors.Is(err, errNotWanted) {
			return err
		}
		return nil
	}
}

// counted tells how much was read of what has a known length.
type counted struct {
	r           io.Reader
	done, total int64
	tell        func(done, total int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.done += int64(n)
	c.tell(c.done, c.total)
	return n, err
}

// errNotWanted is what a sender gets whose bytes nobody reads any more.
var errNotWanted = errors.New("nobody reads any more")

func (p *program) feedDrop() *cobra.Command {
	return &cobra.Command{
		Use:   "drop FEED",
		Short: "Put out of force what was loaded from a folder",
		Long: `Put out of force what bonded feed load has loaded: all of it, which is named
loaded, or one feed. What it touches is judged again. A configured feed goes out
of force when it is taken out of the configuration and the server starts again.`,
		Example:           "  bonded feed drop loaded/Debian\n  bonded feed drop loaded",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeFeeds),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			s, err := c.DropFeed(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return show(p, s, func(pg *page, s *api.Snapshot) {
				pg.line(pg.good.Render("DROPPED"), "  ", args[0], ", in force are ", many(s.Advisories, "advisory", "advisories"), "  ", pg.faint.Render(fmt.Sprintf("snapshot %d, %s", s.Seq, short(s.Digest))))
			})
		},
	}
}
