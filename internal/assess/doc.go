// Package assess gathers what is known.
package assess
