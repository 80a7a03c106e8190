// Package authztest holds the people of tests: principals with grants, and the
// acts that they are permitted.
package authztest

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Person is somebody with an account of the server's own, who is logged in by a
// token. The grants are as in configuration; one that is none panics.
func Person(name string, grants ...string) authz.Principal {
	p := authz.Principal{Issuer: "bonded", Subject: name, Method: "token"}
	for _, s := range grants {
		g, err := authz.ParseGrant(s)
		if err != nil {
			panic(err)
		}
		p.Grants = append(p.Grants, g)
	}
	return p
}

// Act is what authz.Check makes; the test ends where p may not. Open may be nil.
func Act(t testing.TB, p authz.Principal, v authz.Verb, r oci.Repository, open authz.Open) authz.Act {
	t.Helper()
	act, err := authz.Check(p, v, r, open)
	if err != nil {
		t.Fatal(err)
	}
	return act
}
