package repo

import (
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Sight is how somebody looks at the registry as a whole: for each repository
// its Viewer there. ok is false where it may not pull, not even what is
// admitted: to it, nothing is there.
type Sight func(r oci.Repository) (v Viewer, ok bool)

// Sight returns how p looks at the zones. open is that of authz.Check. Who has
// not authenticated sees what it brought only where anyone may push, such as a
// sandbox: there all anonymous callers are one. In a quarantine the verb pull
// gives sight of what one brought, and no more. A repository of no zone is out
// of reach for everyone: nobody knows any more how it was guarded.
func (z Zones) Sight(p authz.Principal, open authz.Open) Sight {
	may := func(v authz.Verb, r oci.Repository) bool {
		_, err := authz.Check(p, v, r, open)
		return err == nil
	}
	return func(r oci.Repository) (Viewer, bool) {
		zone, err := z.Of(r)
		if err != nil {
			return Viewer{}, false
		}
		v := Viewer{Quarantine: may(authz.PullFromQuarantine, r)}
		v.Own = zone.Quarantine() && !v.Quarantine
		if !p.IsAnonymous() || may(authz.Push, r) {
			v.Principal = p.Name()
		}
		return v, v.Quarantine || may(authz.Pull, r)
	}
}
