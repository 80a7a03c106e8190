package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/durable"
)

// Variables of the command itself; those of a server are config.Variables.
const (
	envURL       = "BONDED_URL"        // server to ask, instead of a login
	envToken     = "BONDED_TOKEN"      // "NAME:SECRET" for it
	envCA        = "BONDED_CA"         // file with the CA of its certificate
	envConfigDir = "BONDED_CONFIG_DIR" // folder of logins
)

// login is who one is at a server.
type login struct {
	Host    string    `json:"host"` // "host[:port]" of URL; tells logins apart
	URL     string    `json:"url"`
	CA      string    `json:"ca,omitempty"` // PEM; "" means the system's roots
	Name    string    `json:"name"`
	Secret  string    `json:"secret"`
	Expires time.Time `json:"expires,omitzero"`
}

// logins is the file that keeps them.
type logins struct {
	Current string  `json:"current"` // Host of the one to use
	Logins  []login `json:"logins"`
}

// loginsFile is the file in the folder of logins.
const loginsFile = "logins.json"

// configDir is the folder of logins: BONDED_CONFIG_DIR, or bonded in the
// folder where programs keep what a user has set.
func (p *program) configDir() string {
	if dir := p.vars[envConfigDir]; dir != "" {
		return dir
	}
	if dir := p.vars["XDG_CONFIG_HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "bonded")
	}
	return filepath.Join(p.vars["HOME"], ".config", "bonded")
}

// readLogins returns what is kept; nothing when there is no file yet.
func (p *program) readLogins() (logins, error) {
	var ls logins
	name := filepath.Join(p.configDir(), loginsFile)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return ls, nil
	}
	if err != nil {
		return ls, fmt.Errorf("reading logins: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return ls, &failure{code: exitNotPermitted, what: fmt.Sprintf("reading logins: %s can be read by others (mode %04o), and secrets are in it", name, info.Mode().Perm()), next: "chmod 600 " + name}
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return ls, fmt.Errorf("reading logins: %w", err)
	}
	if err := json.Unmarshal(b, &ls); err != nil {
		return ls, usage("repair or remove it, then bonded login URL", "reading logins from %s: %v", name, err)
	}
	return ls, nil
}

// writeLogins keeps ls.
func (p *program) writeLogins(ls logins) error {
	b, err := json.MarshalIndent(ls, "", "  ")
	if err == nil {
		err = writePrivate(filepath.Join(p.configDir(), loginsFile), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keeping the login: %w", err)
	}
	return nil
}

// writePrivate replaces a file as a whole, readable by this user alone.
func writePrivate(name string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(name, b, 0o600)
}

// find returns the login of a host, or of the current one for "".
func (ls logins) find(host string) (login, bool) {
	if host == "" {
		host = ls.Current
	}
	i := slices.IndexFunc(ls.Logins, func(l login) bool { return l.Host == host })
	if i < 0 {
		return login{}, false
	}
	return ls.Logins[i], true
}

// add puts l in place of one at the same host, and makes it the current one.
func (ls logins) add(l login) logins {
	ls = ls.drop(l.Host)
	ls.Logins = append(ls.Logins, l)
	ls.Current = l.Host
	return ls
}

// drop removes the login of a host; the last that is left becomes current.
func (ls logins) drop(host string) logins {
	ls.Logins = slices.DeleteFunc(slices.Clone(ls.Logins), func(l login) bool { return l.Host == host })
	if ls.Current == host {
		ls.Current = ""
		if n := len(ls.Logins); n > 0 {
			ls.Current = ls.Logins[n-1].Host
		}
	}
	return ls
}

// hosts lists the logins there are.
func (ls logins) hosts() []string {
	hosts := make([]string, len(ls.Logins))
	for i, l := range ls.Logins {
		hosts[i] = l.Host
	}
	return hosts
}

// variables turns "KEY=VALUE" into a map; the last of a name counts.
func variables(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok {
			m[k] = v
		}
	}
	return m
}
