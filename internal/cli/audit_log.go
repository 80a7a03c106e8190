package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// auditPath is where a server shows its audit log.
const auditPath = "/audit/log"

// auditFile is what is remembered of the audit log of a server, beside what else
// that is trusted by.
const auditFile = "audit.json"

// auditSource is the audit log of one server, and what this user remembers of it.
type auditSource struct {
	login     login
	client    *client.Client
	src       *tlog.HTTPSource
	file      string // where seen is kept
	seen      *audit.Seen
	first     bool // nothing was remembered of the log
	firstRoot bool // nor of the server: its root is trusted from now on
	verifier  note.Verifier
	witnesses []note.Verifier
}

// auditFlags say by what the audit log of a server is known.
type auditFlags struct {
	checksum  string
	key       string
	witnesses []string
	quorum    int
	forget    bool
}

// openAudit finds the audit log of the server that is meant, and by what it is
// verified: by flags, or else by the keys that follow from the server's TUF root.
func (p *program) openAudit(ctx context.Context, f auditFlags) (*auditSource, error) {
	c, l, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	web, err := httpClient(l)
	if err != nil {
		return nil, err
	}
	a := &auditSource{login: l, client: c, file: filepath.Join(p.trustDir(l), auditFile)}
	a.src = &tlog.HTTPSource{URL: l.URL + auditPath, Client: web, Header: basic(l)}
	if err := a.recall(f.forget); err != nil {
		return nil, err
	}
	if f.key == "" && (a.first || a.seen.Root != "") {
		if err := p.followLog(ctx, a, f.checksum); err != nil {
			return nil, err
		}
	}
	if err := a.know(f); err != nil {
		return nil, err
	}
	a.verifier, a.witnesses, err = a.seen.Keys()
	return a, err
}

// followLog takes from the server's TUF repository by what its audit log is
// verified. The first time it is the root that is trusted, or not; the key of the
// log follows from it, also after it was replaced.
func (p *program) followLog(ctx context.Context, a *auditSource, checksum string) error {
	t, err := p.trustServer(ctx, checksum)
	if err != nil {
		return err
	}
	b, err := t.document(trust.LogsName)
	if err != nil {
		return err
	}
	all, err := trust.ParseLogKeys(b)
	var keys []trust.LogKey
	if err == nil {
		keys = all.Audit()
	}
	if len(keys) == 0 {
		return &failure{code: exitUnavailable, what: fmt.Sprintf("the keys of %s name no audit log (%v)", a.login.Host, err), next: "--key KEY, got on another way", cause: err}
	}
	switch {
	case a.first:
		a.firstRoot = t.first
		a.seen = &audit.Seen{Origin: keys[0].Origin, Key: keys[0].Key, Root: t.checksum}
	case a.seen.Root != t.checksum || a.seen.Origin != keys[0].Origin:
		return &failure{
			code: exitNotPermitted, what: fmt.Sprintf("what was seen of the audit log of %s goes by the root %s, and the server is trusted by %s now: it is another one", a.login.Host, a.seen.Root, t.checksum),
			next: "where the server was made anew, begin anew with --forget",
		}
	}
	a.seen.Witnesses, a.seen.Quorum = all.Witnesses, all.Quorum
	return a.choose(ctx, keys, p.env.Clock())
}

// choose takes the newest key that has signed the log's head: clients learn of a
// key before it signs.
func (a *auditSource) choose(ctx context.Context, keys []trust.LogKey, now time.Time) error {
	signed, err := a.src.Checkpoint(ctx)
	if err != nil {
		return a.unread(err)
	}
	chosen := keys[0].Key
	for _, k := range keys {
		v, err := tlog.ParseVerifier(k.Key)
		if err != nil {
			return err
		}
		if _, err := tlog.OpenCheckpoint(signed, k.Origin, v); err == nil && k.Good(now) {
			chosen = k.Key
			break
		}
	}
	former := append([]string{a.seen.Key}, a.seen.Former...)
	for _, k := range keys {
		former = append(former, k.Key)
	}
	slices.Sort(former)
	a.seen.Former = slices.DeleteFunc(slices.Compact(former), func(k string) bool { return k == chosen })
	a.seen.Key = chosen
	return nil
}

// basic is how the login says who it is.
func basic(l login) http.Header {
	r := http.Request{Header: http.Header{}}
	if l.Secret != "" {
		r.SetBasicAuth(l.Name, l.Secret)
	}
	return r.Header
}

// recall reads what is remembered of the server.
func (a *auditSource) recall(forget bool) error {
	b, err := os.ReadFile(a.file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && forget {
		a.first = true
		return nil
	}
	if err == nil {
		a.seen, err = audit.ParseSeen(b)
	}
	if err != nil {
		return &failure{code: exitUsage, what: fmt.Sprintf("reading what was seen of the audit log of %s: %v", a.login.Host, err), next: "restore " + a.file + ", or begin anew with --forget", cause: err}
	}
	return nil
}

// know fills in what flags say, which counts before what is remembered.
func (a *auditSource) know(f auditFlags) error {
	if f.key != "" {
		v, err := readVerifier(f.key)
		if err != nil {
			return err
		}
		if a.first {
			a.seen = &audit.Seen{}
		}
		if v.Name() == a.seen.Origin && fmt.Sprint(v) != a.seen.Key {
			a.seen.Heads = nil // they were signed by the key before
		}
		a.seen.Origin, a.seen.Key, a.seen.Root, a.seen.Former = v.Name(), fmt.Sprint(v), "", nil
	}
	if len(f.witnesses) > 0 {
		a.seen.Witnesses, a.seen.Quorum = nil, len(f.witnesses)/2+1
		for _, text := range f.witnesses {
			v, err := readVerifier(text)
			if err != nil {
				return err
			}
			a.seen.Witnesses = append(a.seen.Witnesses, fmt.Sprint(v))
		}
	}
	if f.quorum > 0 {
		a.seen.Quorum = f.quorum
	}
	if _, _, err := a.seen.Keys(); err != nil {
		return &failure{code: exitUsage, what: err.Error(), next: "a key is NAME+ID+KEY; --quorum is at most the number of witnesses", cause: err}
	}
	return nil
}

// unread explains an audit log that cannot be read.
func (a *auditSource) unread(err error) error {
	what := fmt.Sprintf("reading the audit log of %s: %v", a.login.Host, err)
	switch {
	case errors.Is(err, tlog.ErrStranger):
		return &failure{code: exitNotPermitted, what: what, next: "log in: bonded login", cause: err}
	case errors.Is(err, tlog.ErrRefused):
		return &failure{code: exitNotPermitted, what: what, next: "it takes a role with the verb read-audit: bonded principal grant " + a.login.Name + " auditor", cause: err}
	}
	return &failure{code: exitUnavailable, what: what, next: "is the server running, and may " + a.login.Name + " read audit events? bonded whoami", cause: err}
}

// remember keeps a head that was verified.
func (a *auditSource) remember(p *program, signed []byte) error {
	if err := a.seen.Remember(signed, p.env.Clock()); err != nil {
		return fmt.Errorf("remembering the head of the audit log: %w", err)
	}
	if err := writePrivate(a.file, a.seen.Encode()); err != nil {
		return fmt.Errorf("remembering the head of the audit log: %w", err)
	}
	return nil
}
