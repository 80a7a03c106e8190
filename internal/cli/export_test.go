package cli

import (
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
