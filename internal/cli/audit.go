package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
)

func (p *program) audit() *cobra.Command {
	return group("audit", "What was done by whom, and whether the record of it is whole",
		"  bonded audit log --repository production/payments/api\n  bonded audit verify",
		p.auditLog(), p.auditTail(), p.auditVerify(), p.auditProve(), p.auditMonitor())
}

// addFilter adds the flags that pick events.
func (p *program) addFilter(cmd *cobra.Command, q *client.EventQuery) {
	flags := cmd.Flags()
	flags.StringVar(&q.Repository, "repository", "", "only events about this `REPOSITORY`")
	flags.StringVar(&q.Digest, "digest", "", "only events about this `DIGEST`")
	flags.StringVar(&q.Principal, "principal", "", "only what this principal (`NAME`) did")
	flags.StringVar(&q.Kind, "kind", "", "only events of this `KIND`, such as placement.admitted")
	p.must(cmd.RegisterFlagCompletionFunc("principal", p.completePrincipals))
	p.must(cmd.RegisterFlagCompletionFunc("kind", none))
}

func (p *program) auditLog() *cobra.Command {
	var q client.EventQuery
	cmd := &cobra.Command{
		Use:   "log",
		Short: "List the newest events, oldest of them first",
		Example: `  bonded audit log
  bonded audit log --repository dev/payments/api --limit 5
  bonded audit log --principal ann -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Limit < 1 {
				return usage("--limit 1 or more", "limit %d lists nothing", q.Limit)
			}
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			events := []api.Event{}
			for e, err := range c.Events(cmd.Context(), q) {
				if err != nil {
					return err
				}
				events = append(events, e)
			}
			slices.Reverse(events)
			return show(p, events, func(pg *page, events []api.Event) {
				for i := range events {
					pg.event(&events[i])
				}
				if len(events) == 0 {
					pg.line("no events")
				} else if len(events) == q.Limit {
					pg.line(pg.faint.Render(fmt.Sprintf("…older ones: --limit %d", 10*q.Limit)))
				}
			})
		},
	}
	p.addFilter(cmd, &q)
	cmd.Flags().IntVar(&q.Limit, "limit", rowsShown, "how many")
	return cmd
}

// event writes one event: when, what, about what, who, and what else is known.
func (pg *page) event(e *api.Event) {
	about := e.Repository
	switch {
	case about != "" && e.Digest != "":
		about += "@" + short(e.Digest)
	case about == "":
		about = short(e.Digest)
	}
	head := fmt.Sprintf("%s  %s  ", moment(e.At), pg.bold.Render(e.Kind))
	pg.line(head, strings.TrimSpace(about+"  by "+e.Principal))
	keys := sorted(e.Details)
	details := make([]string, 0, len(keys))
	for _, k := range keys {
		details = append(details, k+"="+short(e.Details[k]))
	}
	if len(details) > 0 {
		indent := strings.Repeat(" ", len(moment(e.At))+2)
		pg.wrap(indent, indent, pg.faint.Render(strings.Join(details, "  ")))
	}
}

// Times of bonded audit tail.
const (
	tailPause = time.Second
	tailFirst = 10 // events that are there already
)

func (p *program) auditTail() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print events as they come, until interrupted",
		Long: `Print the last events, then each one as it comes, until interrupted. With -o
json there is one object a line, with -o yaml one document each.`,
		Example: "  bonded audit tail\n  bonded audit tail -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.runTail(cmd.Context()) },
	}
	return cmd
}

func (p *program) runTail(ctx context.Context) error {
	c, _, err := p.connect(ctx)
	if err != nil {
		return err
	}
	var after int64
	for e, err := range c.Events(ctx, client.EventQuery{Limit: tailFirst}) { // newest first
		if err != nil {
			return err
		}
		after = e.Seq - 1
	}
	for {
		for e, err := range c.Events(ctx, client.EventQuery{Oldest: true, After: after}) {
			if err == nil {
				after, err = e.Seq, p.printEvent(e)
			}
			if err != nil {
				return tailed(ctx, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.env.After(tailPause):
		}
	}
}

// tailed: being interrupted is how a tail ends.
func tailed(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// printEvent prints one event of a stream.
func (p *program) printEvent(e api.Event) error {
	switch p.output {
	case outputJSON:
		b, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("encoding the event: %v", err)
		}
		_, err = fmt.Fprintln(p.io.Out, string(b))
		return written(err)
	case outputYAML:
		if _, err := io.WriteString(p.io.Out, "---\n"); err != nil {
			return written(err)
		}
	}
	return show(p, e, func(pg *page, e api.Event) { pg.event(&e) })
}
