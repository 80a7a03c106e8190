package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bonded-dev/bonded/api"
)

// seenFile is the file, in the folder of what this user has seen, that keeps the
// newest state of each repository: see docs/format/epoch.md.
const seenFile = "epochs.json"

// maxSeen bounds that file, in bytes.
const maxSeen = 64 << 20

// seen is what it holds: by the name of a server (scheme://host[:port], see
// docs/format/batch.md) and by repository.
type seen struct {
	Version int                             `json:"version"` // 1
	Servers map[string]map[string]seenEpoch `json:"servers"`
}

// seenEpoch is the newest state that was seen.
type seenEpoch struct {
	Epoch  int64     `json:"epoch"`
	Digest string    `json:"digest"` // of the state
	At     time.Time `json:"at"`     // when its document was made
}

// skew is how far ahead of this machine's clock a document may have been made.
const skew = 10 * time.Minute

func (p *program) readSeen() (seen, error) {
	s := seen{Version: 1, Servers: map[string]map[string]seenEpoch{}}
	name := filepath.Join(p.stateDir(), seenFile)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	var b []byte
	if err == nil && info.Size() > maxSeen {
		err = fmt.Errorf("it has %d bytes, at most %d", info.Size(), maxSeen)
	}
	if err == nil {
		b, err = os.ReadFile(name)
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil && s.Version != 1 {
		err = fmt.Errorf("it is of version %d, this program knows 1", s.Version)
	}
	if err != nil {
		// To begin anew would be to believe whatever comes next.
		return s, fmt.Errorf("reading what was seen before in %s: %w; if it is lost, remove it: then nothing older is noticed", name, err)
	}
	return s, nil
}

// originOf is scheme and host of a URL in lower case, by which servers are told
// apart.
func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return strings.ToLower(raw)
	}
	return strings.ToLower(u.Scheme + "://" + u.Host)
}

// fresh holds the state of a repository, as a server of that name has proven it,
// against what was seen of it, and keeps it if it is newer. It refuses, with
// exitDenied, a state that is older than one that was seen, another one of the same
// number, and one that has expired; with exitCannotTell one from a time that this
// machine's clock does not know yet.
func (p *program) fresh(name string, e *api.Epoch) error {
	unlock, err := p.lockSeen()
	if err != nil {
		return fmt.Errorf("keeping what was seen: %w", err)
	}
	defer unlock()
	all, err := p.readSeen()
	if err != nil {
		return err
	}
	origin := originOf(name)
	before, known := all.Servers[origin][e.Repository]
	if err := notFresh(e, before, p.env.Clock()); err != nil {
		var f *failure
		if strings.HasPrefix(origin, "http://") && errors.As(err, &f) { // it is for development, see fleeting
			f.next = fmt.Sprintf("where a development server was made anew under the same name, take %s out of %s", origin, filepath.Join(p.stateDir(), seenFile))
		}
		return err
	}
	if known && before.Epoch == e.Epoch && !e.At.After(before.At) {
		return nil
	}
	if all.Servers == nil {
		all.Servers = map[string]map[string]seenEpoch{}
	}
	if all.Servers[origin] == nil {
		all.Servers[origin] = map[string]seenEpoch{}
	}
	now := seenEpoch{Epoch: e.Epoch, Digest: e.Digest, At: e.At}
	if now.At.Before(before.At) { // the server's clock was set back, which makes nothing young
		now.At = before.At
	}
	all.Servers[origin][e.Repository] = now
	b, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = writePrivate(filepath.Join(p.stateDir(), seenFile), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keeping what was seen: %w", err)
	}
	return nil
}

// lockSeen keeps other runs of this command from the file while it is read and
// written: else one that had seen an older state could put that back.
func (p *program) lockSeen() (unlock func(), err error) {
	if err := os.MkdirAll(p.stateDir(), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(p.stateDir(), seenFile+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // which gives the lock up
}

// notFresh says why a state is not to be gone by; before is zero where none was
// seen. A clock that was set back brings nothing back: it cannot be earlier than
// what was seen was made.
func notFresh(e *api.Epoch, before seenEpoch, now time.Time) error {
	if now.Before(before.At) {
		now = before.At
	}
	stale := func(code exitCode, format string, operands ...any) error {
		what := fmt.Sprintf("the state of %s is not to be gone by: ", e.Repository) + fmt.Sprintf(format, operands...)
		return &failure{code: code, what: what, next: "ask the server itself, not a mirror or a restored one; its operator: bonded trust recover"}
	}
	switch {
	case e.Epoch < before.Epoch:
		return stale(exitDenied, "it is epoch %d, expected at least epoch %d, which was seen on %s", e.Epoch, before.Epoch, before.At.UTC().Format(time.RFC3339))
	case e.Epoch == before.Epoch && e.Digest != before.Digest:
		return stale(exitDenied, "epoch %d was another state when it was seen on %s: %s, and now %s; expected at least epoch %d", e.Epoch, before.At.UTC().Format(time.RFC3339), before.Digest, e.Digest, before.Epoch+1)
	case !now.Before(e.Expires):
		return stale(exitDenied, "epoch %d expired on %s; expected at least epoch %d, in a document that has not expired", e.Epoch, e.Expires.UTC().Format(time.RFC3339), max(e.Epoch, before.Epoch))
	case e.At.After(now.Add(skew)):
		return stale(exitCannotTell, "epoch %d was made on %s, and the clock of this machine says %s", e.Epoch, e.At.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}
