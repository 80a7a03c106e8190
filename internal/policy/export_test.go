package policy

import "flag"

// Update says to rewrite golden and generated files.
var Update = flag.Bool("update", false, "rewrite golden and generated files")
