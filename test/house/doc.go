// Package house holds the rules of the house as tests: who may import whom and
// which library lives in which room (table.go), how large things may get, and
// which modules the program is linked from (docs/dependencies.txt, rewritten by
// `make generate`).
package house
