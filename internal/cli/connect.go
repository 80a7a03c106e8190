package cli

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/pki"
)

// connect returns a client of the server that this command line means: that of
// BONDED_URL, the one of --server, the current login, or the one that this user
// has just started on this machine.
func (p *program) connect(ctx context.Context) (*client.Client, login, error) {
	l, err := p.login(ctx)
	if err != nil {
		return nil, login{}, err
	}
	c, err := p.client(l)
	return c, l, err
}

func (p *program) client(l login) (*client.Client, error) {
	o := client.Options{URL: l.URL, Name: l.Name, Secret: l.Secret, UserAgent: "bonded/" + p.env.Version}
	if l.CA != "" {
		o.CA = x509.NewCertPool()
		if !o.CA.AppendCertsFromPEM([]byte(l.CA)) {
			return nil, usage("bonded login "+l.URL+" --ca FILE", "the CA that is kept for %s holds no PEM certificate", l.Host)
		}
	}
	c, err := client.New(o)
	if err != nil {
		return nil, usage("bonded login URL", "%v", err)
	}
	return c, nil
}

// login finds out which server is meant, and as whom.
func (p *program) login(ctx context.Context) (login, error) {
	if p.vars[envURL] != "" && p.server == "" {
		return p.loginOfEnv()
	}
	ls, err := p.readLogins()
	if err != nil {
		return login{}, err
	}
	l, ok := ls.find(p.server)
	switch {
	case ok && !l.Expires.IsZero() && p.env.Clock().After(l.Expires):
		return login{}, &failure{code: exitNotPermitted, what: fmt.Sprintf("the login at %s ended on %s", l.Host, l.Expires.Format(time.DateOnly)), next: "ask an administrator for a code, then bonded login " + l.URL + " --code CODE"}
	case ok:
		return l, nil
	case p.server != "":
		return login{}, usage("bonded login URL", "there is no login at %q, only at: %s", p.server, list(ls.hosts()))
	}
	if l, ok := p.enrolHere(ctx); ok {
		return l, nil
	}
	return login{}, &failure{code: exitNotPermitted, what: "not logged in to any server", next: "bonded login URL --code CODE, or set " + envURL + " and " + envToken}
}

func (p *program) loginOfEnv() (login, error) {
	l := login{URL: p.vars[envURL]}
	u, err := url.Parse(l.URL)
	if err != nil || u.Host == "" {
		return l, usage("set it to https://host[:port]", "%s is no URL", envURL)
	}
	l.Host = u.Host
	if token := p.vars[envToken]; token != "" {
		var ok bool
		if l.Name, l.Secret, ok = strings.Cut(token, ":"); !ok || l.Name == "" || l.Secret == "" {
			return l, usage("set it to NAME:SECRET, as bonded login or bonded token create gave them", "%s is not of the form NAME:SECRET", envToken)
		}
	}
	if file := p.vars[envCA]; file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return l, fmt.Errorf("reading %s: %w", envCA, err)
		}
		if err := checkCA(envCA+" "+file, b); err != nil {
			return l, err
		}
		l.CA = string(b)
	}
	return l, nil
}

// caDir is the folder of the server's own authority in a data folder.
func caDir(data string) string { return filepath.Join(data, "ca") }

// firstFile is where a server leaves the code of the first administrator for
// the user it runs as: whoever reads the folder could read the database too.
const firstFile = "first-admin.json"

// first is what that file holds.
type first struct {
	URL    string     `json:"url"`
	Invite api.Invite `json:"invite"`
	CA     string     `json:"ca,omitempty"`
}

// leaveCode writes the file, where there is a code.
func leaveCode(s Started) error {
	if s.Enrol == nil {
		return nil
	}
	b, err := json.Marshal(first{URL: s.URL, Invite: *s.Enrol, CA: s.CA})
	if err == nil {
		err = writePrivate(filepath.Join(s.Data, firstFile), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("leaving the first administrator's code in the data folder: %w", err)
	}
	return nil
}

// enrolHere makes the user who started a server on the default data folder its
// first administrator, without being asked. Where that cannot be done it is not
// an error: the usual login remains.
func (p *program) enrolHere(ctx context.Context) (login, bool) {
	name := filepath.Join(string(config.DefaultData(p.env.Vars)), firstFile)
	b, err := os.ReadFile(name)
	if err != nil {
		return login{}, false
	}
	var f first
	if err := json.Unmarshal(b, &f); err != nil || p.env.Clock().After(f.Invite.Expires) {
		return login{}, false
	}
	l, err := p.enrol(ctx, login{URL: f.URL, CA: f.CA}, api.EnrolRequest{Code: f.Invite.Code, Label: p.label()})
	if err != nil {
		return login{}, false
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.note("the used code could not be removed: %v", err)
	}
	p.note("first use: this user is now %s at %s", l.Name, l.URL)
	return l, true
}

// enrol redeems a code and keeps the login.
func (p *program) enrol(ctx context.Context, l login, req api.EnrolRequest) (login, error) {
	u, err := url.Parse(l.URL)
	if err != nil || u.Host == "" {
		return l, usage("bonded login https://host[:port] --code CODE", "%q is no URL", l.URL)
	}
	l.Host = u.Host
	c, err := p.client(l)
	if err != nil {
		return l, err
	}
	e, err := c.Enrol(ctx, req)
	if err != nil {
		return l, err
	}
	l.Name, l.Secret, l.Expires = e.Name, e.Secret, e.Expires
	return l, p.keep(l)
}

// keep adds a login to those that are kept.
func (p *program) keep(l login) error {
	ls, err := p.readLogins()
	if err != nil {
		return err
	}
	return p.writeLogins(ls.add(l))
}

// label names what a token is for: this user on this machine.
func (p *program) label() string {
	user := p.vars["USER"]
	if user == "" {
		user = "bonded"
	}
	if p.env.Hostname == "" {
		return user
	}
	return user + "@" + p.env.Hostname
}

// note tells people something beside the answer.
func (p *program) note(format string, operands ...any) {
	st := p.styles(p.io.Err, p.io.ErrTerminal)
	fmt.Fprintln(p.io.Err, st.faint.Render(cleanLines(fmt.Sprintf(format, operands...))))
}

// reference takes the host of the server off a reference, as people paste them
// from docker. On this machine it goes by several names.
func reference(ref string, l login) string {
	host, rest, ok := strings.Cut(strings.TrimPrefix(ref, "https://"), "/")
	if ok && (host == l.Host || config.LoopbackAddress(host) && config.LoopbackAddress(l.Host) && portOf(host) == portOf(l.Host)) {
		return rest
	}
	return strings.TrimPrefix(ref, "https://")
}

func portOf(host string) string { return host[strings.LastIndex(host, ":")+1:] }

// sought adds to the answer that there is no such artifact how to see which
// there are.
func sought(err error, ref string, l login) error {
	var asked *client.Error
	if !errors.As(err, &asked) || asked.Code != "not-found" || asked.Next != "" {
		return err
	}
	next := "is it spelt right? zones: bonded zone list"
	if strings.Contains(asked.Message, " is in no zone") {
		next = "see which zones there are: bonded zone list"
	} else if r, err := oci.ParseReference(reference(ref, l)); err == nil && !r.Repository.IsZero() {
		next = "is it spelt right? zones: bonded zone list; tags: bonded list " + r.Repository.String()
	}
	return &failure{code: exitCode(asked.ExitCode()), what: asked.Message, next: next, cause: err}
}

// localCA is the authority of the server that runs on the default data folder
// of this user, "" when there is none.
func (p *program) localCA() string {
	b, err := pki.ReadCA(caDir(string(config.DefaultData(p.env.Vars))))
	if err != nil {
		return ""
	}
	return string(b)
}
