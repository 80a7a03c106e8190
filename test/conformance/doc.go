// Package conformance runs the official OCI distribution conformance programs
// against this registry, or against any other that BONDED_CONFORMANCE_URL names.
//
// Programs, each by the path of an executable (test/parts/conformance.sh builds
// what the module registry serves):
//
//	BONDED_CONFORMANCE_MAIN      the program of the specification's repository, run for 1.1 and for what is to come
//	BONDED_CONFORMANCE_RELEASE   the test binary of v1.1.1
//
// Another registry:
//
//	BONDED_CONFORMANCE_URL         its root, with scheme
//	BONDED_CONFORMANCE_REPOSITORY  the prefix of repositories to write to; default: conformance
//	BONDED_CONFORMANCE_USERNAME    login; optional
//	BONDED_CONFORMANCE_PASSWORD
package conformance
