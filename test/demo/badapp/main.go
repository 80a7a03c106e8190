// Command badapp is a program that nobody should run: it links old versions of
// modules with known vulnerabilities, for the demonstration of what a gate
// does with it.
package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/net/html"
	"golang.org/x/net/http2"
	"golang.org/x/text/language"
)

func main() {
	page, err := html.Parse(strings.NewReader("<p>hello"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	tags, _, err := language.ParseAcceptLanguage("de, en;q=0.5")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	transport := &http.Transport{}
	fmt.Println(page.Type, tags, http2.ConfigureTransport(transport), ssh.KeyAlgoRSA)
}
