package db

import (
	"context"
	"fmt"

	"github.com/bonded-dev/bonded/internal/oci"
)

// InForce implements assess.InForce.
func (tx *Tx) InForce(ctx context.Context, zone string) (snapshot int64, gate oci.Digest, err error) {
	var digest string
	err = tx.row(ctx, `SELECT COALESCE((SELECT MAX(s.seq) FROM snapshot s), 0), COALESCE((SELECT g.digest FROM gate g WHERE g.zone = ?), '')`,
		[]any{zone}, &snapshot, &digest)
	if err == nil {
		err = gate.UnmarshalText([]byte(digest))
	}
	if err != nil {
		return 0, oci.Digest{}, fmt.Errorf("reading what is in force in zone %s: %w", zone, err)
	}
	return snapshot, gate, nil
}

// PutGate implements assess.InForce.
func (tx *Tx) PutGate(ctx context.Context, zone string, gate oci.Digest) (before oci.Digest, err error) {
	if _, before, err = tx.InForce(ctx, zone); err != nil || before == gate {
		return before, err
	}
	_, err = tx.exec(ctx, `INSERT INTO gate (zone, digest) VALUES (?, ?) ON CONFLICT (zone) DO UPDATE SET digest = excluded.digest`, zone, gate.String())
	if err != nil {
		err = fmt.Errorf("putting gate %s in force in zone %s: %w", gate, zone, err)
	}
	return before, err
}
