package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
)

func (p *program) bases() *cobra.Command {
	return &cobra.Command{
		Use:   "bases REFERENCE",
		Short: "What an image is built on, of what stands here",
		Long: `List the images that stand somewhere here and that an image is built on: all
their layers, in their order, are its lowest. That is compared with the content
of the layers, and not what a label or an annotation says.`,
		Example:           "  bonded bases production/payments/api:1.8",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, l, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			b, err := c.Bases(cmd.Context(), reference(args[0], l))
			if err != nil {
				return sought(err, args[0], l)
			}
			b.Tags = askedFirst(b.Tags, args[0])
			return show(p, b, (*page).bases)
		},
	}
}

func (pg *page) bases(b *api.Bases) {
	pg.line(pg.bold.Render(named(b.Repository, b.Tags, b.Digest)), "  ", many(b.Layers, "layer", "layers"))
	if b.Compared < b.Layers {
		pg.line("  ", pg.bad.Render("CANNOT TELL"), fmt.Sprintf("  layer %d was not compared with its configuration; what lies above is not looked at", b.Compared+1))
	}
	if len(b.Bases) == 0 {
		pg.line("  nothing that stands here, and that you can see, is its base")
		return
	}
	var rows [][]string
	for _, x := range b.Bases {
		var tags []string
		state := "–"
		switch {
		case x.Newer != "":
			state = pg.bad.Render("out of date") + ": " + x.Tag + " names " + short(x.Newer)
		case x.Past:
			state = pg.bad.Render("out of date") + ": tag " + x.Tag + " is gone"
		case x.Tag != "":
			tags = []string{x.Tag}
		}
		rows = append(rows, []string{named(x.Repository, tags, x.Digest), fmt.Sprintf("%d of %d", x.Layers, b.Layers), pg.ago(x.AdmittedAt), state})
	}
	pg.table(2, []column{{title: "BASE", keep: true}, {title: "LAYERS"}, {title: "ADMITTED"}, {title: "STATE"}}, rows)
}

func (p *program) descendants() *cobra.Command {
	var list listFlags
	cmd := &cobra.Command{
		Use:   "descendants REFERENCE",
		Short: "Which images are built on one, and where they stand",
		Example: `  bonded descendants catalog/debian:12
  bonded descendants catalog/debian:12 --all -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := p.askDescendants(cmd.Context(), args[0], list.all || p.output != outputText)
			if err != nil {
				return err
			}
			return show(p, d, func(pg *page, d *api.Descendants) { pg.descendants(d, args[0]) })
		},
	}
	list.add(cmd, rowsShown)
	return cmd
}

// askDescendants returns the first page of an answer, or with all everything.
func (p *program) askDescendants(ctx context.Context, ref string, all bool) (*api.Descendants, error) {
	c, l, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	limit := rowsShown
	if all {
		limit = 1000
	}
	d, err := c.Descendants(ctx, reference(ref, l), "", limit)
	if err != nil {
		return nil, sought(err, ref, l)
	}
	for all && d.Next != "" {
		next, err := c.Descendants(ctx, reference(ref, l), d.Next, limit)
		if err != nil {
			return nil, err
		}
		d.Images, d.Next = append(d.Images, next.Images...), next.Next
	}
	d.Tags = askedFirst(d.Tags, ref)
	return d, nil
}

func (pg *page) descendants(d *api.Descendants, asked string) {
	head := many(len(d.Images), "image is built on it", "images are built on it")
	if d.Next != "" {
		head = "at least " + head
	}
	pg.line(pg.bold.Render(named(d.Repository, d.Tags, d.Digest)), "  ", head)
	var rows [][]string
	for _, x := range d.Images {
		rows = append(rows, []string{named(x.Repository, x.Tags, x.Digest), x.State, pg.ago(x.BroughtAt), x.BroughtBy})
	}
	if len(rows) > 0 {
		pg.table(2, []column{{title: "ARTIFACT", keep: true}, {title: "STATE"}, {title: "BROUGHT"}, {title: "BY"}}, rows)
	}
	if d.Next != "" {
		pg.line("  ", pg.faint.Render("…more: bonded descendants "+asked+" --all"))
	}
}
