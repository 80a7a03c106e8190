package trust

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// LogsName is the document by which the logs themselves are verified, and
// witnessed: logs.json.
const LogsName = "logs.json"

const logsType = "application/vnd.bonded.logs.v1+json"

// AuditSuffix follows the origin of an instance in that of its audit log.
const AuditSuffix = "/audit"

// LogKeys is the document logs.json: the keys that sign checkpoints, and who
// cosigns them. That of the log of certificates is in the trusted root alone: its
// checkpoints are no client's business.
type LogKeys struct {
	MediaType string   `json:"mediaType"`
	Logs      []LogKey `json:"logs"` // the oldest of each log first
	// Witnesses are the keys of those who cosign, NAME+ID+KEY, and Quorum is how
	// many must.
	Witnesses []string `json:"witnesses"`
	Quorum    int      `json:"quorum"`
}

// LogKey is a key that signs, or signed, checkpoints of a log.
type LogKey struct {
	Origin string `json:"origin"`
	Key    string `json:"key"` // NAME+ID+KEY, as in a signed note
	// From and Until are when it was good; Until is zero while it is in use.
	From  time.Time `json:"from"`
	Until time.Time `json:"until,omitzero"`
}

// LogKeys returns logs.json. The same state gives the same bytes.
func (i *Instance) LogKeys() ([]byte, error) {
	d := LogKeys{MediaType: logsType, Logs: []LogKey{}, Witnesses: append([]string{}, i.o.Witnesses...), Quorum: i.o.Quorum}
	for _, l := range i.now.Load().rec.Logs {
		origin := i.o.Origin
		switch l.Slot {
		case LogAudit:
			origin += AuditSuffix
		case LogRekor:
		default:
			continue
		}
		pub, err := x509.ParsePKIXPublicKey(l.SPKI)
		if err != nil {
			return nil, fmt.Errorf("encoding the key of log %s: %w: %v", origin, ErrUnusable, err)
		}
		k, ok := pub.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("encoding the key of log %s: %w: it is not Ed25519", origin, ErrUnusable)
		}
		text, err := note.NewEd25519VerifierKey(origin, k)
		if err != nil {
			return nil, fmt.Errorf("encoding the key of log %s: %v", origin, err)
		}
		d.Logs = append(d.Logs, LogKey{Origin: origin, Key: text, From: l.From.UTC(), Until: l.Until})
	}
	b, err := json.MarshalIndent(d, "", "  ")
	return append(b, '\n'), err
}

// ParseLogKeys reads logs.json, which its reader has verified.
func ParseLogKeys(b []byte) (*LogKeys, error) {
	var all LogKeys
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("reading %s: %v", LogsName, err)
	}
	if all.MediaType != logsType {
		return nil, fmt.Errorf("reading %s: it is %.100q, and this program reads %s", LogsName, all.MediaType, logsType)
	}
	if all.Quorum < 0 || all.Quorum > len(all.Witnesses) || all.Quorum == 0 && len(all.Witnesses) > 0 {
		return nil, fmt.Errorf("reading %s: a quorum of %d among %d witnesses", LogsName, all.Quorum, len(all.Witnesses))
	}
	for _, l := range all.Logs {
		v, err := note.NewVerifier(l.Key)
		if err == nil && v.Name() != l.Origin {
			err = errors.New("it is named after another log")
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: the key %.100q of %.100q: %v", LogsName, l.Key, l.Origin, err)
		}
	}
	return &all, nil
}

// Audit returns the keys of the audit log, the newest first.
func (a *LogKeys) Audit() []LogKey {
	var of []LogKey
	for _, l := range slices.Backward(a.Logs) {
		if strings.HasSuffix(l.Origin, AuditSuffix) && (of == nil || l.Origin == of[0].Origin) {
			of = append(of, l)
		}
	}
	return of
}

// Good reports whether a key signs new checkpoints at a time.
func (k LogKey) Good(at time.Time) bool { return k.Until.IsZero() || at.Before(k.Until) }
