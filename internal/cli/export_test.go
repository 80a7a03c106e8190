package cli

import (
	"io"
	"time"

	"github.com/spf13/cobra"
)

// Root returns the tree of commands, for tests that read it as a whole.
func Root() *cobra.Command {
	p := &program{env: Env{Clock: time.Now}, vars: map[string]string{}}
	root := p.root()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

// FindingTable sets rows as a list of findings, width 0 where nobody looks.
func FindingTable(width int, rows [][]string) string {
	p := &program{noColor: true, io: Stdio{Out: io.Discard, Width: width}, env: Env{Clock: time.Now}}
	pg := p.page()
	pg.table(0, findingColumns, rows)
	return pg.String()
}

// Transferred says how much of a transfer that began took ago is done.
func Transferred(done, total int64, took time.Duration) string {
	began := time.Unix(1_000_000, 0)
	now := began
	s := (&program{env: Env{Clock: func() time.Time { return now }}}).steps()
	s.bytes(0, total)
	now = began.Add(took)
	s.bytes(done, total)
	return s.transferred()
}
