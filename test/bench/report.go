package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// line says one result on a terminal.
func line(r result) string {
	text := fmt.Sprintf("%-9s %-28s %10s  at most %-9s", outcomeNames[r.outcome], r.bar.name, value(r), limit(r.bar))
	return strings.TrimRight(text+" "+remark(r), " ")
}

// remark is what a reader wants to know beside the number.
func remark(r result) string {
	if r.reason != "" {
		return r.reason
	}
	return r.reading.detail
}

func value(r result) string {
	if r.outcome == notSeen || r.outcome == broken {
		return "–"
	}
	return number(r.reading.value, r.bar.unit)
}

func limit(b bar) string { return number(b.limit, b.unit) }

// number prints three digits that count, and the unit.
func number(v float64, unit string) string {
	digits := strconv.FormatFloat(v, 'f', 2, 64)
	if v >= 100 {
		digits = strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strings.TrimSpace(digits + " " + unit)
}

// markdown is the page that is kept in docs.
func markdown(results []result, machine string) string {
	var b strings.Builder
	b.WriteString("# Bars\n\nWhat Bonded promises about its own cost, and what was measured last. `make bench` measures it again and rewrites this page.\n")
	b.WriteString("CPU is that of the server's process; a bar is a ratio to a peer or to a loop of the same run. Of what can grow, three sizes are measured: the value is the cost at the largest to that at the smallest or, where it says \"exponent\", the power of the size that the cost follows between the two largest (1 is linear). \"Not seen\" means that something was missing to measure it: it is not a pass.\n\n")
	fmt.Fprintf(&b, "Machine: %s\n\n| bar | what | at most | measured | | |\n|---|---|---|---|---|---|\n", machine)
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.bar.name, r.bar.what, limit(r.bar), value(r), outcomeNames[r.outcome], strings.ReplaceAll(remark(r), "|", "\\|"))
	}
	return b.String()
}

// machine describes where a run was measured.
func machine() string {
	model := "unknown processor"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		scan := bufio.NewScanner(f)
		for scan.Scan() {
			if name, text, ok := strings.Cut(scan.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(text)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores of %s, %s/%s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH, runtime.Version())
}
