package tlog

import "context"

// For tests of package tlog_test.
var (
	ParseRequest  = parseRequest
	FormatRequest = formatRequest
	RootAt        = rootAt
)

// ProveNew proves an entry that p appends, out of what p has in memory.
func (p *Plan) ProveNew(index int64) ([]Hash, error) { return proveNew(p, index) }

// Unbounded reads what is not published yet.
func (l *Log) Unbounded() Source { return unbounded{l.Reader} }

// Renew does what happens now and then.
func (l *Log) Renew(ctx context.Context) error {
	defer l.lock()()
	return l.renew(ctx)
}
