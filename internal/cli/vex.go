package cli

import (
	"github.com/bonded-dev/bonded/api"
)

// suppressed writes the findings that do no harm by somebody's word, and whose.
func (pg *page) suppressed(fs []api.Finding, list listFlags, how string) {
	if len(fs) == 0 {
		return
	}
	pg.line()
	pg.line(pg.good.Render("NO HARM"), "  ", many(len(fs), "finding", "findings"), " by the word of somebody whom the gate believes (VEX)")
	rows, left := cut(list, fs)
	var cells [][]string
	for _, x := range rows {
		cells = append(cells, []string{pg.severity(x), known(x), x.Package, x.Version, saidOf(x.VEX), sayer(x.VEX)})
	}
	pg.table(2, []column{
		{title: "SEVERITY", keep: true}, {title: "ADVISORY", keep: true}, {title: "PACKAGE", least: 16},
		{title: "VERSION", drop: true}, {title: "SAYS", least: 12}, {title: "WHO", least: 12},
	}, cells)
	pg.more(2, left, how)
}

// saidOf is what is said of a finding, with the reason.
func saidOf(a *api.Assessment) string {
	switch {
	case a == nil:
		return dash
	case a.Justification != "":
		return a.Status + ": " + a.Justification
	}
	return a.Status
}

// sayer is who says it.
func sayer(a *api.Assessment) string {
	if a == nil {
		return dash
	}
	return a.By
}
