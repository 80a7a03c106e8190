package cli

import (
	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
)

func (p *program) zone() *cobra.Command {
	return group("zone", "The levels of trust, and the ways between them", "  bonded zone list", p.zoneList(), p.zoneShow())
}

func (p *program) zoneList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the zones with their gates and what stands in them",
		Example: "  bonded zone list\n  bonded zone list -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			zones, err := c.Zones(cmd.Context())
			if err != nil {
				return err
			}
			return show(p, zones, func(pg *page, zones []api.Zone) {
				var rows [][]string
				for _, z := range zones {
					rows = append(rows, []string{z.Name, gateName(z), list(z.From), count(z.Admitted), count(z.Waiting)})
				}
				pg.table(0, []column{{title: "ZONE", keep: true}, {title: "GATE"}, {title: "PROMOTED FROM"}, {title: "ADMITTED", right: true}, {title: "WAITING", right: true}}, rows)
			})
		},
	}
}

// gateName is the gate of a zone; a sandbox has none.
func gateName(z api.Zone) string {
	if z.Sandbox {
		return "none: anyone may push and pull"
	}
	return or(z.Gate)
}

func (p *program) zoneShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show ZONE",
		Short:             "Say what a zone is, and where its artifacts come from and go to",
		Example:           "  bonded zone show production",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeZones),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			zones, err := c.Zones(cmd.Context())
			if err != nil {
				return err
			}
			var names, to []string
			var found *api.Zone
			for i, z := range zones {
				names = append(names, z.Name)
				if z.Name == args[0] {
					found = &zones[i]
				}
				for _, from := range z.From {
					if from == args[0] {
						to = append(to, z.Name)
					}
				}
			}
			if found == nil {
				return usage("bonded zone list", "there is no zone %q, only %s", args[0], list(names))
			}
			return show(p, found, func(pg *page, z *api.Zone) {
				pg.line(pg.bold.Render(z.Name))
				pg.line("  gate           ", gateName(*z), "  ", pg.faint.Render(short(z.GateDigest)))
				pg.line("  promoted from  ", list(z.From))
				pg.line("  promoted to    ", list(to))
				pg.line("  admitted       ", count(z.Admitted))
				pg.line("  waiting        ", count(z.Waiting), "   (held or denied)")
				if z.Gate != "" {
					pg.line()
					pg.line("next: bonded gate show ", z.Gate)
				}
			})
		},
	}
}
