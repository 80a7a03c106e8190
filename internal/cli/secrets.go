package cli

import (
	"fmt"

	"github.com/bonded-dev/bonded/api"
)

// searched says how many secrets there are, and how far anybody looked.
func (pg *page) searched(inv *api.Inventory, where string) string {
	text := pg.good.Render("none")
	if n := len(inv.Secrets); n > 0 {
		text = pg.bad.Render(fmt.Sprint(n)) + ", " + where
	}
	switch inv.Searched {
	case "full":
		return text
	case "partial", "ambiguous":
		return text + "; " + pg.wait.Render("not all of it was searched") + ", see --coverage"
	}
	if len(inv.Secrets) > 0 {
		return text + "; " + pg.wait.Render("some layers were not searched")
	}
	return pg.wait.Render("not searched")
}

// secrets lists what looks like a credential.
func (pg *page) secrets(all []api.Secret, list listFlags, rest string) {
	rows, left := cut(list, all)
	if len(rows) == 0 {
		return
	}
	var cells [][]string
	for _, s := range rows {
		layer := fmt.Sprint(s.Layer + 1)
		switch {
		case s.Layer < 0:
			layer = "–"
		case s.Removed:
			layer += ", removed later"
		}
		cells = append(cells, []string{s.Rule, layer, fmt.Sprint(s.Line), s.PURL})
	}
	pg.line()
	pg.table(0, []column{{title: "SECRET", keep: true}, {title: "LAYER"}, {title: "LINE", right: true, drop: true}, {title: "WAIVED AS", least: 24, keep: true}}, cells)
	pg.more(0, left, rest)
}
