// Package conformance runs the official OCI distribution conformance programs
// against this registry, or against any other that BONDED_CONFORMANCE_URL names.
//
// They are run by make conformance and by nothing else, so they are behind the
// build tag conformance: the Go modules of the programs are not served everywhere,
// and a suite that is mostly skipped would be taken for one that passes. Here a
// program that is missing has failed.
//
// Programs, each by the path of an executable (test/parts/conformance.sh builds
// what is served; the failure says how to build it from a clone):
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
