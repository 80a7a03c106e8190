package analyze

import (
	"log/slog"
	"testing"
	"time"
)

func newTestAnalyzer(t testing.TB, x ...Extractor) *Analyzer {
	t.Helper()
	return New(Options{Extractors: x, TempDir: t.TempDir(), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
}
