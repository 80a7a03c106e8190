// Package calm is for commands that end before they have made much garbage: a
// quarter of what "bonded version" takes would be the collection of what the
// packages of others make while the program starts, none of which is ever free.
//
// It is a package so that it can be early: Go sets up packages that wait for no
// others in the order of their paths, and from the first line of main it would come
// too late (docs/adr/0017). Like the variable GOGC, which wins where it is set, it
// is no business of any other package.
package calm

import (
	"os"
	_ "unsafe" // for go:linkname
)

// percent is how much the heap may grow between two collections.
const percent = 400

var _ = begin()

func begin() bool {
	if os.Getenv("GOGC") == "" {
		setGCPercent(percent)
	}
	return true
}

// Collect has garbage collected as is usual, for what runs long.
func Collect() {
	if os.Getenv("GOGC") == "" {
		setGCPercent(100)
	}
}

// setGCPercent is debug.SetGCPercent without its package: that is set up after
// nearly all others, because r comes after g, and the first collection before it.
//
//go:linkname setGCPercent runtime/debug.setGCPercent
func setGCPercent(percent int32) (before int32)
