package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/lipgloss/table"
	"github.com/goccy/go-yaml"
	"github.com/muesli/termenv"

	"github.com/bonded-dev/bonded/internal/policy"
)

// The values of -o.
const (
	outputText = "text"
	outputJSON = "json"
	outputYAML = "yaml"
)

func (p *program) checkOutput() error {
	switch p.output {
	case outputText, outputJSON, outputYAML:
		return nil
	}
	what := p.output
	p.output = outputText
	return usage("-o text, -o json or -o yaml", "output format %q is not one of text, json, yaml", what)
}

// show prints v as the flags say: as JSON or YAML with the names of package
// api, or as the text that render makes of it. Strings that render gets have no
// control characters: they may come from an image.
func show[T any](p *program, v T, render func(*page, T)) error {
	if p.output != outputText {
		return p.encode(v)
	}
	pg := p.page()
	render(pg, cleaned(v))
	_, err := io.WriteString(p.io.Out, pg.String())
	return written(err)
}

// written names the one way in which printing goes wrong.
func written(err error) error {
	if err != nil {
		return fmt.Errorf("writing the answer: %v", err)
	}
	return nil
}

// encode prints v for programs.
func (p *program) encode(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil && p.output == outputYAML {
		b, err = yaml.JSONToYAML(b)
	}
	if err != nil {
		return fmt.Errorf("encoding the answer: %v", err)
	}
	_, err = fmt.Fprintln(p.io.Out, strings.TrimRight(string(b), "\n"))
	return written(err)
}

// cleaned returns a copy of v in which every string is printable.
func cleaned[T any](v T) T {
	out := reflect.New(reflect.TypeFor[T]()).Elem()
	copyClean(out, reflect.ValueOf(&v).Elem())
	return out.Interface().(T)
}

func copyClean(dst, src reflect.Value) {
	switch src.Kind() {
	case reflect.String:
		dst.SetString(policy.Printable(src.String()))
	case reflect.Pointer:
		if !src.IsNil() {
			dst.Set(reflect.New(src.Type().Elem()))
			copyClean(dst.Elem(), src.Elem())
		}
	case reflect.Struct:
		dst.Set(src) // fields that are not exported, as those of time.Time
		for i := range src.NumField() {
			if src.Type().Field(i).IsExported() {
				copyClean(dst.Field(i), src.Field(i))
			}
		}
	case reflect.Slice:
		if src.IsNil() {
			return
		}
		dst.Set(reflect.MakeSlice(src.Type(), src.Len(), src.Len()))
		for i := range src.Len() {
			copyClean(dst.Index(i), src.Index(i))
		}
	case reflect.Map:
		if src.IsNil() {
			return
		}
		dst.Set(reflect.MakeMapWithSize(src.Type(), src.Len()))
		for it := src.MapRange(); it.Next(); {
			k, v := reflect.New(src.Type().Key()).Elem(), reflect.New(src.Type().Elem()).Elem()
			copyClean(k, it.Key())
			copyClean(v, it.Value())
			dst.SetMapIndex(k, v)
		}
	default:
		dst.Set(src)
	}
}

// cleanLines makes text printable and keeps its lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = policy.Printable(strings.TrimSuffix(l, "\r"))
	}
	return strings.Join(lines, "\n")
}

// styles are the few ways in which words differ. Without colour they are all
// the same, so no meaning is in them alone.
type styles struct {
	renderer                     *lipgloss.Renderer
	good, bad, wait, faint, bold lipgloss.Style
}

// styles chooses colours for a stream: those of the terminal's own theme, and
// none for what is no terminal.
func (p *program) styles(w io.Writer, terminal bool) styles {
	r := lipgloss.NewRenderer(w)
	colour := terminal && p.vars["TERM"] != "dumb" || p.vars["CLICOLOR_FORCE"] != "" && p.vars["CLICOLOR_FORCE"] != "0"
	if p.noColor || p.vars["NO_COLOR"] != "" || !colour {
		r.SetColorProfile(termenv.Ascii)
	} else {
		r.SetColorProfile(termenv.ANSI)
	}
	return styles{
		renderer: r,
		good:     r.NewStyle().Bold(true).Foreground(lipgloss.Color("2")),
		bad:      r.NewStyle().Bold(true).Foreground(lipgloss.Color("1")),
		wait:     r.NewStyle().Bold(true).Foreground(lipgloss.Color("3")),
		faint:    r.NewStyle().Faint(true),
		bold:     r.NewStyle().Bold(true),
	}
}

// defaultWidth is how wide prose is set where nobody knows the width.
const defaultWidth = 80

// page is the text of one answer while it is made.
type page struct {
	styles
	words
	strings.Builder
	// width is what prose is broken at.
	width int
	// rest names the commands that show what an answer leaves out, and what is
	// still to come.
	rest struct{ findings, all, wait string }
	// cut: what does not fit is cut, since somebody looks at it. Otherwise a
	// program may read it, and gets everything.
	cut bool
}

func (p *program) page() *page {
	pg := &page{styles: p.styles(p.io.Out, p.io.Width > 0), words: words{now: p.env.Clock()}, width: defaultWidth}
	width := p.io.Width
	if n, err := strconv.Atoi(p.vars["COLUMNS"]); err == nil && n >= 20 {
		width = n
	}
	if width > 0 {
		pg.width, pg.cut = width, true
	}
	return pg
}

// line writes one line.
func (pg *page) line(parts ...string) {
	pg.WriteString(strings.TrimRight(strings.Join(parts, ""), " ") + "\n")
}

// ends writes a line with its last part at the right edge, or on a line of its
// own where it does not fit.
func (pg *page) ends(left, right string) {
	room := pg.width - lipgloss.Width(left) - lipgloss.Width(right)
	switch {
	case room < 2:
		pg.line(left)
		pg.line("  ", right)
	case pg.cut:
		pg.line(left, strings.Repeat(" ", room), right)
	default:
		pg.line(left, "  ", right)
	}
}

// wrap writes text broken at the width, all lines but the first indented.
func (pg *page) wrap(first, indent, text string) {
	line, empty := first, true
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' }) {
		switch {
		case empty:
			line += word
		case lipgloss.Width(line)+1+lipgloss.Width(word) > pg.width:
			pg.line(line)
			line = indent + word
		default:
			line += " " + word
		}
		empty = false
	}
	pg.line(line)
}

// column is a column of a table.
type column struct {
	title string
	right bool // numbers stand at the right, and are never cut
	keep  bool // what a row is about is never cut
	least int  // other cells are not cut below this width; default leastCell
	drop  bool // it is left out where cutting is not enough, the last such first
}

// leastCell is how far cells are cut at most, in columns.
const leastCell = 12

// gap is the room between two columns.
const gap = 2

// table writes rows under their titles, or without when no column has one.
// Cells are cut only where somebody looks at them, and in the middle: names and
// versions differ at both ends.
func (pg *page) table(indent int, cols []column, rows [][]string) {
	if pg.cut {
		cols, rows = fit(cols, rows, pg.width-indent)
	}
	titles, titled := make([]string, len(cols)), false
	for i, c := range cols {
		titles[i], titled = c.title, titled || c.title != ""
	}
	t := table.New().Border(lipgloss.Border{}).BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderColumn(false).BorderHeader(false).BorderRow(false).Wrap(false).Headers(titles...).Rows(rows...).
		StyleFunc(func(row, col int) lipgloss.Style {
			s := pg.renderer.NewStyle()
			if col < len(cols)-1 {
				s = s.PaddingRight(gap)
			}
			if cols[col].right {
				s = s.Align(lipgloss.Right)
			}
			if row == table.HeaderRow {
				s = s.Faint(true)
			}
			return s
		})
	for l := range strings.Lines(t.Render()) {
		if !titled { // the line of titles is blank
			titled = true
			continue
		}
		pg.line(strings.Repeat(" ", indent), strings.TrimRight(l, "\n"))
	}
}

// fit cuts cells, and drops columns, until rows are no wider than room. What
// may not be cut stays whole, if need be beyond the edge.
func fit(cols []column, rows [][]string, room int) ([]column, [][]string) {
	widths, ok := shrink(cols, rows, room)
	for i := len(cols) - 1; i >= 0 && !ok; i-- {
		if !cols[i].drop {
			continue
		}
		cols = slices.Delete(slices.Clone(cols), i, i+1)
		for r := range rows {
			rows[r] = slices.Delete(rows[r], i, i+1)
		}
		widths, ok = shrink(cols, rows, room)
	}
	for _, row := range rows {
		for i := range row {
			row[i] = middle(row[i], widths[i])
		}
	}
	return cols, rows
}

// shrink returns the width of each column, and whether they fit into room. The
// widest gives first.
func shrink(cols []column, rows [][]string, room int) (widths []int, ok bool) {
	widths, least := make([]int, len(cols)), make([]int, len(cols))
	total := gap * (len(cols) - 1)
	for i, c := range cols {
		widths[i], least[i] = lipgloss.Width(c.title), max(lipgloss.Width(c.title), cmp.Or(c.least, leastCell))
		for _, row := range rows {
			widths[i] = max(widths[i], lipgloss.Width(row[i]))
		}
		if c.keep || c.right {
			least[i] = widths[i]
		}
		total += widths[i]
	}
	for ; total > room; total-- {
		widest := -1
		for i := range cols {
			if widths[i] > least[i] && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return widths, false
		}
		widths[widest]--
	}
	return widths, true
}

// middle cuts s out of its middle until it has at most width columns.
func middle(s string, width int) string {
	if lipgloss.Width(s) <= width {
		return s
	}
	text := []rune(s)
	for keep := width - 1; keep > 1; keep-- {
		tail := keep / 2
		if short := string(text[:keep-tail]) + "…" + string(text[len(text)-tail:]); lipgloss.Width(short) <= width {
			return short
		}
	}
	return "…"
}

// more says how to see the rest of a list.
func (pg *page) more(indent, left int, how string) {
	if left > 0 {
		pg.line(strings.Repeat(" ", indent), pg.faint.Render(fmt.Sprintf("…%s more: %s", count(left), how)))
	}
}
