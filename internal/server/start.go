package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/repo"
)

// firstAdmin is the account that the first code enrols, and devReader the one
// of a development server that may only pull: an administrator sees what is
// denied too, and would never meet a refusal.
const (
	firstAdmin = "administrator"
	devReader  = "reader"
)

// Started is what people are told about a server that starts. While nobody
// administers it, it makes a new code for the first administrator, which ends those
// made before; a development server enrols that one by itself, and a reader.
func (s *Server) Started(ctx context.Context) (*cli.Started, error) {
	out := &cli.Started{URL: s.transport.url, Data: string(s.config.Data), Notes: s.notes(), Logs: s.trust.states()}
	if ca := s.transport.ca; ca != nil {
		out.CA = string(ca)
		if block, _ := pem.Decode(ca); block != nil {
			sum := sha256.Sum256(block.Bytes)
			out.Fingerprint = hex.EncodeToString(sum[:])
		}
	}
	taken, err := s.administrated(ctx)
	if err != nil || taken {
		return out, err
	}
	act, err := authz.Check(authz.Internal("init"), authz.Administer, noRepository, nil)
	if err != nil {
		return nil, err
	}
	invite, err := s.accounts.InviteFirst(ctx, act, api.InviteRequest{Name: firstAdmin, Human: true, Grants: []string{"admin"}})
	if errors.Is(err, repo.ErrConflict) { // who enrolled meanwhile, at another server of this database
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("making a code for the first administrator: %w", err)
	}
	out.Fresh = true
	if !s.dev {
		out.Enrol = invite
		return out, nil
	}
	if out.Admin, err = s.enrol(ctx, invite); err != nil {
		return nil, err
	}
	invite, err = s.accounts.Invite(ctx, act, api.InviteRequest{Name: devReader, Grants: []string{"reader=**"}})
	if err != nil {
		return nil, fmt.Errorf("inviting the reader of a development server: %w", err)
	}
	out.Reader, err = s.enrol(ctx, invite)
	return out, err
}

// enrol redeems a code for who tries things on a development server.
func (s *Server) enrol(ctx context.Context, invite *api.Invite) (*api.Enrolled, error) {
	e, err := s.accounts.Enrol(ctx, api.EnrolRequest{Code: invite.Code, Label: "development server"}, netip.IPv6Loopback())
	if err != nil {
		return nil, fmt.Errorf("enrolling the %s of a development server: %w", invite.Name, err)
	}
	return e, nil
}

// administrated reports whether anybody has ever enrolled.
func (s *Server) administrated(ctx context.Context) (bool, error) {
	accounts, err := s.accounts.Accounts(ctx, "", 2)
	if err != nil || len(accounts) != 1 {
		return len(accounts) > 1, err
	}
	only, err := s.accounts.Account(ctx, accounts[0].Name)
	if err != nil {
		return false, err
	}
	return only.Name != firstAdmin || len(only.Tokens) > 0, nil
}

// notes say what is off, or weaker than it could be.
func (s *Server) notes() map[string]string {
	notes := map[string]string{}
	switch {
	case len(s.config.Feeds) == 0 && s.advisories.Index().Snapshot().Advisories == 0:
		notes["advisories"] = "no feed is configured; load a folder with: bonded feed load FOLDER"
	case s.advisories.Index().Snapshot().Advisories == 0:
		notes["advisories"] = "none yet: bonded feed update"
	}
	for _, f := range s.config.Feeds {
		if f.Dir == "" {
			continue
		}
		if _, err := os.Stat(string(f.Dir)); err != nil {
			notes["feed "+f.Name] = fmt.Sprintf("its folder cannot be read: %v", err)
		}
	}
	s.anchors.notes(notes)
	s.trustNotes(notes)
	if s.dev {
		notes["development"] = "plain HTTP on loopback, and a zone that is not judged"
	}
	return notes
}

// Health reports how the server is.
func (s *Server) Health(ctx context.Context) (*api.Health, error) {
	h := &api.Health{Version: s.version, Checks: map[string]string{}, Notes: s.notes()}
	checks := s.checks(ctx)
	s.crowded(checks, left)
	checks["anchors"] = s.anchors.problem()
	checks["clock"] = s.clockProblem()
	checks["configuration"] = s.deciding.replaced() // no reason yet to send requests elsewhere
	if s.trust != nil {                             // it is no reason to send requests elsewhere
		checks["trust"] = s.trust.keeper.check()
		checks["audit log"] = s.auditProblem()
		if s.trust.clients != nil {
			note, problem := s.trust.clients.Standing(s.clock())
			checks["client certificates"] = problem
			if note != "" {
				h.Notes["client certificates"] = note
			}
		}
		s.trustFacts(ctx, h.Notes)
	}
	for name, problem := range checks {
		if problem == "" {
			problem = "ok"
		}
		h.Checks[name] = problem
	}
	return h, nil
}

// checks asks each part whether it works; "" means that it does.
func (s *Server) checks(ctx context.Context) map[string]string {
	checks := map[string]string{"database": "", "content": "", "jobs": "", "configuration": s.deciding.late()}
	if _, err := s.db.Numbered(ctx); err != nil {
		checks["database"] = err.Error()
	}
	if err := s.content.check(ctx); err != nil {
		checks["content"] = err.Error()
	}
	buried, err := s.db.Buried(ctx, 1)
	if err == nil && len(buried) > 0 {
		checks["jobs"] = fmt.Sprintf("job %s of %s was given up after %d attempts: %s", buried[0].Key, buried[0].Kind, buried[0].Attempt, buried[0].Error)
	}
	return checks
}
