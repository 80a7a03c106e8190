package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/audit"
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
	first     bool // nothing was remembered
	verifier  note.Verifier
	witnesses []note.Verifier
}

// auditFlags say by what the audit log of a server is known.
type auditFlags struct {
	key       string
	witnesses []string
	quorum    int
	forget    bool
}

// openAudit finds the audit log of the server that is meant. What it is verified
// by is remembered; the first time it is taken from the server, or from the flags.
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
	if err := a.know(ctx, f); err != nil {
		return nil, err
	}
	a.verifier, a.witnesses, err = a.seen.Keys()
	return a, err
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

// know fills in by what the log is verified: flags count before what is
// remembered, and that before what the server says.
func (a *auditSource) know(ctx context.Context, f auditFlags) error {
	if a.first {
		about, err := a.about(ctx)
		if err != nil {
			return err
		}
		a.seen = &audit.Seen{Origin: about.Origin, Key: about.Key, Witnesses: about.Witnesses, Quorum: about.Quorum}
	}
	if f.key != "" {
		v, err := readVerifier(f.key)
		if err != nil {
			return err
		}
		if !a.first && v.Name() == a.seen.Origin && fmt.Sprint(v) != a.seen.Key {
			a.seen.Heads = nil // they were signed by the key before
		}
		a.seen.Origin, a.seen.Key = v.Name(), fmt.Sprint(v)
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

// maxAbout bounds what a server says about its log, in bytes.
const maxAbout = 64 << 10

// about asks the server what its log is verified by.
func (a *auditSource) about(ctx context.Context) (*api.AuditLog, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.src.URL+"/about", nil)
	if err != nil {
		return nil, err
	}
	req.Header = a.src.Header.Clone()
	res, err := a.src.Client.Do(req)
	if err != nil {
		return nil, a.unread(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAbout))
	if err != nil {
		return nil, a.unread(err)
	}
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, &failure{
			code: exitNotPermitted, what: fmt.Sprintf("reading the audit log of %s: %s", a.login.Host, strings.TrimSpace(string(b))),
			next: "it takes a role with the verb read-audit: bonded principal grant " + a.login.Name + " auditor",
		}
	default:
		return nil, &failure{code: exitUnavailable, what: fmt.Sprintf("reading the audit log of %s: it answers %s", a.login.Host, res.Status), next: "is it a server of this version? bonded health"}
	}
	var about api.AuditLog
	if err := json.Unmarshal(b, &about); err != nil {
		return nil, a.unread(err)
	}
	return &about, nil
}

// unread explains an audit log that cannot be read.
func (a *auditSource) unread(err error) error {
	return &failure{code: exitUnavailable, what: fmt.Sprintf("reading the audit log of %s: %v", a.login.Host, err), next: "is the server running, and may " + a.login.Name + " read audit events? bonded whoami", cause: err}
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
