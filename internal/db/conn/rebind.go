package conn

import (
	"strconv"
	"strings"
)

// Dollars replaces the question marks of a query, which all engines here are
// written for, with PostgreSQL's $1, $2, …. Those inside 'strings', "names"
// and -- comments stay; dollar quoting, block comments and operators with
// question marks are not for queries of this program.
func Dollars(query string) string {
	if strings.IndexByte(query, '?') < 0 {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	n := 0
	for i := 0; i < len(query); i++ {
		switch ch := query[i]; {
		case ch == '?':
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		case ch == '\'' || ch == '"':
			i = copyThrough(&b, query, i, ch)
		case ch == '-' && strings.HasPrefix(query[i:], "--"):
			i = copyThrough(&b, query, i, '\n')
		default:
			b.WriteByte(ch)
		}
	}
	return b.String()
}

// copyThrough copies from i to the next end after it, or to the end of the
// query, and returns where it stopped. A doubled quote is two strings in a row,
// which comes to the same.
func copyThrough(b *strings.Builder, query string, i int, end byte) int {
	stop := len(query) - 1
	if j := strings.IndexByte(query[i+1:], end); j >= 0 {
		stop = i + 1 + j
	}
	b.WriteString(query[i : stop+1])
	return stop
}
