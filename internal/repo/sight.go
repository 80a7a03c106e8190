package repo

import (
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Sight is how somebody looks at the registry as a whole: for each repository
// its Viewer there. ok is false where it may not pull, not even what is
// admitted: to it, nothing is there.
type Sight func(r oci.Repository) (v Viewer, ok bool)

// SightOf returns the Sight of p. open is that of authz.Check. Who has not
// authenticated sees what it brought only where anyone may push, such as a
// sandbox: there all anonymous callers are one.
func SightOf(p authz.Principal, open authz.Open) Sight {
	may := func(v authz.Verb, r oci.Repository) bool {
		_, err := authz.Check(p, v, r, open)
		return err == nil
	}
	return func(r oci.Repository) (Viewer, bool) {
		v := Viewer{Quarantine: may(authz.PullFromQuarantine, r)}
		if !p.IsAnonymous() || may(authz.Push, r) {
			v.Principal = p.Name()
		}
		return v, v.Quarantine || may(authz.Pull, r)
	}
}
