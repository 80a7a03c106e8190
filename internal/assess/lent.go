package assess

import (
	"context"
	"fmt"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// maxLenders bounds how many indexes are asked what they lend to what they name.
// Those nearest to it that came first are: who makes others later pushes none out.
const maxLenders = 64

// lender is an index that names what is judged, with what is said of the index.
type lender struct {
	index     oci.Descriptor
	referrers []oci.Digest
}

// lenders finds the indexes that name d and of which something is said. more: not
// all were looked at.
func lenders(ctx context.Context, tx Tx, d oci.Digest) (found []lender, more bool, err error) {
	indexes, more, err := repo.Ancestors(ctx, tx, d, maxLenders)
	if err != nil {
		return nil, false, err
	}
	for _, i := range indexes {
		referrers, err := tx.ReferrersOf(ctx, i)
		if err != nil {
			return nil, false, err
		}
		if len(referrers) == 0 {
			continue
		}
		m, err := tx.Stored(ctx, i)
		if err != nil {
			return nil, false, err
		}
		found = append(found, lender{describeManifest(m), referrers})
	}
	return found, more, nil
}

// borrow adds to k what signers of indexes have vouched for, by t, and returns
// what was looked at for that. What could not be checked is in doubt here too;
// what was refused is told of the index, and not of all that it names.
func (a *Assessor) borrow(ctx context.Context, t *Trusted, d oci.Digest, k *known) (looked []oci.Digest, err error) {
	if t == nil {
		return nil, nil
	}
	var from []lender
	var more bool
	err = a.DB.View(ctx, func(tx Tx) (err error) {
		from, more, err = lenders(ctx, tx, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, l := range from {
		of, err := a.evidenceAbout(ctx, t, l.index, l.referrers)
		if err != nil {
			return nil, err
		}
		if !k.lend(l.index.Digest, &of.verified) {
			more = true
			break
		}
		looked = append(looked, l.referrers...)
	}
	if more {
		k.verified.Unsure = append(k.verified.Unsure, evidence.Refusal{
			Referrer: d, Unsure: true, Reasons: []string{fmt.Sprintf("more than %d indexes name it, or more is said of them than is read, and what is said of the others was not looked at", maxLenders)},
		})
	}
	return looked, nil
}

// lend adds what was verified of an index to what is known of something in it. It
// adds nothing and returns false where all that is lent says more than MaxEvidence
// bytes.
func (k *known) lend(index oci.Digest, of *policy.Verified) bool {
	lent := evidence.Lent(index, of.Signatures)
	for i := range lent {
		if st := lent[i].Statement; st != nil {
			k.lent += st.Size
		}
	}
	if k.lent > MaxEvidence {
		return false
	}
	k.add(lent)
	k.verified.Unsure = append(k.verified.Unsure, of.Unsure...)
	k.verified.Until = earlier(k.verified.Until, of.Until)
	return true
}
