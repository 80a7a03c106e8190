// Command prog is built by the tests and looked into. It depends on one module.
package main

import "golang.org/x/mod/semver"

func main() { println(semver.Major("v1.2.3")) }
