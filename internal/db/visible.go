package db

import "github.com/bonded-dev/bonded/internal/repo"

// Conditions on the placement p that say what a viewer may see. Each takes its
// parameters in the order that its function returns them.

// visible is Viewer.Visible in SQL, for placements of all states. Evidence is
// visible where its subject is; where the subject is not in the repository, to
// who brought it. The subject can be evidence itself, so the chain is followed
// to the first placement that is none, or whose subject is not here. What a tag
// of cosign's older form once said is as good as a subject.
func (tx *Tx) visible(v repo.Viewer) (string, []any) { return seen(v, `'held', 'denied'`, tx.now()) }

// readable is visible for the blobs of a placement: those of a denied one stay
// closed to who brought it.
func (tx *Tx) readable(v repo.Viewer) (string, []any) { return seen(v, `'held'`, tx.now()) }

// admitted is a placement that stands by now, which is the parameter: one whose
// time is over is withdrawn, whether that is recorded or not.
const admitted = `p.state = 'admitted' AND (p.stay_until = 0 OR p.stay_until > ?)`

// seen is the condition for one who sees what it brought in these states of the
// intake.
func seen(v repo.Viewer, intake string, now int64) (string, []any) {
	if v.Quarantine {
		return `p.state NOT IN ('removed', 'revoked')`, nil
	}
	standing, about := admitted+` OR p.state IN (`+intake+`) AND p.brought_by = ?`, chain
	if v.Own {
		standing, about = `(`+admitted+` OR p.state IN (`+intake+`)) AND p.brought_by = ?`, chainOwn
	}
	return `(` + standing + ` OR p.state = 'attached' AND ` + about + ` = 1)`, []any{now, v.Principal, now, v.Principal}
}

// chain is 1 where the viewer, the second parameter, may see the evidence p, and
// chainOwn where it sees only its own. Chains longer than the limit are not
// visible.
const (
	chain    = chainUp + `('held', 'denied', 'attached') AND up.brought_by = ? OR up.state = 'admitted' THEN 1 ELSE 0 END` + chainTop
	chainOwn = chainUp + `('held', 'denied', 'attached', 'admitted') AND up.brought_by = ? THEN 1 ELSE 0 END` + chainTop

	chainUp = `(
	WITH RECURSIVE up (state, brought_by, subject, depth) AS (
		SELECT p.state, p.brought_by, COALESCE((SELECT NULLIF(pm.subject, '') FROM manifest pm WHERE pm.id = p.manifest_id), (
			SELECT o.subject FROM about o CROSS JOIN placement os WHERE o.manifest_id = p.manifest_id
				AND os.repository_id = p.repository_id AND os.digest = o.subject AND os.state <> 'removed'
			ORDER BY o.subject LIMIT 1), ''), 0
		UNION ALL
		SELECT CASE WHEN s.state = 'admitted' AND s.stay_until <> 0 AND s.stay_until <= ? THEN 'withdrawn' ELSE s.state END, s.brought_by, sm.subject, up.depth + 1
		FROM up
		CROSS JOIN placement s
		CROSS JOIN manifest sm
		WHERE up.state = 'attached' AND up.depth < 8
			AND s.repository_id = p.repository_id AND s.digest = up.subject AND s.state <> 'removed'
			AND sm.id = s.manifest_id
	)
	SELECT CASE WHEN up.depth = 8 THEN 0 WHEN up.state IN `
	chainTop = `
	FROM up ORDER BY up.depth DESC LIMIT 1)`
)
