package db

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/revoke"
)

// Touched implements revoke.Marks.
func (tx *Tx) Touched(ctx context.Context, r *evidence.Revocation) ([]revoke.Touched, error) {
	var found []revoke.Touched
	var err error
	switch {
	case !r.Digest.IsZero():
		found, err = tx.touchedBy(ctx, r.Digest)
	case r.Principal != "":
		found, err = tx.pushedBy(ctx, r)
	case r.OfSigner():
		found, err = tx.signedBy(ctx, r)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for what the revocation of %s touches: %w", r.What(), err)
	}
	slices.SortFunc(found, func(a, b revoke.Touched) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	return found, nil
}

// touchedBy returns a digest and the manifests whose blob it is.
func (tx *Tx) touchedBy(ctx context.Context, d oci.Digest) ([]revoke.Touched, error) {
	found := []revoke.Touched{{Digest: d, How: "it is " + d.String()}}
	holders, err := tx.digests(ctx, `SELECT DISTINCT p.digest FROM content c CROSS JOIN repository r CROSS JOIN holding h CROSS JOIN placement p
		WHERE c.digest = ? AND h.repository_id = r.id AND h.content_id = c.id AND p.id = h.placement_id AND p.digest <> c.digest`, d.String())
	for _, h := range holders {
		found = append(found, revoke.Touched{Digest: h, How: "it holds " + d.String()})
	}
	return found, err
}

// pushedBy returns the manifests that a principal pushed, wherever they came from
// there: of events that have a number, and of those that wait for one.
func (tx *Tx) pushedBy(ctx context.Context, r *evidence.Revocation) ([]revoke.Touched, error) {
	seen := map[oci.Digest]revoke.Touched{}
	take := func(rows *sql.Rows) error {
		var b []byte
		var e audit.Event
		if err := rows.Scan(&b); err != nil {
			return err
		}
		if err := json.Unmarshal(b, &e); err != nil {
			return fmt.Errorf("reading an event: %w", err)
		}
		if e.Kind != pushedKind || e.Principal != r.Principal || !r.Within(e.At) {
			return nil
		}
		d, err := oci.ParseDigest(e.Digest)
		if _, ok := seen[d]; err == nil && !ok {
			seen[d] = revoke.Touched{Digest: d, How: fmt.Sprintf("%s pushed it on %s", e.Principal, e.At.UTC().Format("2006-01-02 15:04 UTC"))}
		}
		return err
	}
	err := tx.each(ctx, `SELECT bytes FROM entry WHERE principal = ? AND kind || '' = ? ORDER BY seq`, []any{r.Principal, pushedKind}, take)
	if err == nil {
		err = tx.each(ctx, `SELECT bytes FROM outbox ORDER BY id`, nil, take)
	}
	return values(seen), err
}

// pushedKind is the kind of the events of push.
const pushedKind = "manifest.pushed"

func values(seen map[oci.Digest]revoke.Touched) []revoke.Touched {
	found := make([]revoke.Touched, 0, len(seen))
	for _, t := range seen {
		found = append(found, t)
	}
	return found
}

// signedBy returns what has signatures that the revocation covers, those included
// that were verified once and count no more for other reasons. Of a builder it is
// what the provenance is about.
func (tx *Tx) signedBy(ctx context.Context, r *evidence.Revocation) ([]revoke.Touched, error) {
	seen := map[oci.Digest]revoke.Touched{}
	var last signedRow
	take := func(rows *sql.Rows) error {
		t, err := last.scan(rows, r)
		if err != nil || t == nil {
			return err
		}
		before, ok := seen[t.Digest]
		if ok {
			t.How, t.Referrers = before.How, append(before.Referrers, t.Referrers...)
		}
		seen[t.Digest] = *t
		return nil
	}
	const query = `SELECT e.subject, e.referrer, e.result, s.n FROM signer s CROSS JOIN evidence e WHERE e.id = s.evidence_id AND `
	var err error
	switch {
	case !r.Subject.IsZero():
		var who []signer
		if who, err = tx.signers(ctx, r); err == nil {
			err = chunks(who, func(part []signer) error {
				var args []any
				for _, w := range part {
					args = append(args, w.subject, w.issuer)
				}
				where := strings.TrimSuffix(strings.Repeat(`s.subject = ? AND s.issuer = ? AND s.subject <> '' OR `, len(part)), " OR ")
				return tx.each(ctx, query+`(`+where+`) ORDER BY e.id, s.n`, args, take)
			})
		}
	case r.Key != "":
		err = tx.each(ctx, query+`s.key = ? AND s.key <> '' ORDER BY e.id, s.n`, []any{strings.ToLower(r.Key)}, take)
	default:
		err = tx.each(ctx, query+`s.builder = ? AND s.builder <> '' ORDER BY e.id, s.n`, []any{cut(r.Builder)}, take)
	}
	return values(seen), err
}

// signedRow is what came of verifying one referrer, while its signatures follow
// one another: to read it again for each of them would take the square of the time.
type signedRow struct {
	result  []byte
	checked assess.Checked
}

// scan reads a row of signedBy; nil for a signature that is not covered.
func (s *signedRow) scan(rows *sql.Rows, r *evidence.Revocation) (*revoke.Touched, error) {
	var subject, referrer string
	var result []byte
	var n int
	if err := rows.Scan(&subject, &referrer, &result, &n); err != nil {
		return nil, err
	}
	if s.result == nil || !bytes.Equal(s.result, result) {
		s.result, s.checked = result, assess.Checked{}
		if err := json.Unmarshal(result, &s.checked); err != nil {
			return nil, fmt.Errorf("reading evidence about %s: %w", subject, err)
		}
	}
	checked := &s.checked
	if n >= len(checked.Signatures) || !r.Covers(&checked.Signatures[n]) {
		return nil, nil
	}
	d, err := oci.ParseDigest(subject)
	if err != nil {
		return nil, err
	}
	ref, err := oci.ParseDigest(referrer)
	return &revoke.Touched{Digest: d, Referrers: []oci.Digest{ref}, How: how(r, &checked.Signatures[n])}, err
}

func how(r *evidence.Revocation, sig *evidence.Signature) string {
	verb := "signed by "
	if r.Builder != "" {
		verb = "built by " + r.Builder + ", as signed by "
	}
	when := ", at a time that nothing proves"
	if !sig.At.IsZero() {
		when = " on " + sig.At.UTC().Format("2006-01-02 15:04 UTC")
	}
	return verb + sig.Identity.String() + when
}

// signer is somebody who signed something.
type signer struct{ subject, issuer string }

// signers returns those whose signatures the revocation may cover. Patterns are
// held against the identities that there are.
func (tx *Tx) signers(ctx context.Context, r *evidence.Revocation) (who []signer, err error) {
	err = tx.each(ctx, `SELECT DISTINCT s.subject, s.issuer FROM signer s WHERE s.subject <> ''`, nil, func(rows *sql.Rows) error {
		var s signer
		err := rows.Scan(&s.subject, &s.issuer)
		if err == nil && mayBe(r.Subject, s.subject) && (r.Issuer.IsZero() || mayBe(r.Issuer, s.issuer)) {
			who = append(who, s)
		}
		return err
	})
	return who, err
}

// mayBe reports whether a name of which the index has the beginning may match.
func mayBe(p evidence.Pattern, indexed string) bool {
	return !assess.Whole(indexed) || p.MatchFold(indexed)
}
