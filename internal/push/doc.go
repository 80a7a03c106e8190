// Package push brings bytes in.
package push
