// Command bonded-pkcs11 is a KMS plug-in: it keeps private keys in a PKCS #11
// token, such as a hardware security module, for bonded, for cosign and for
// whoever else speaks the plug-in protocol of sigstore.
//
// It is a program and a module of its own, because it needs cgo and loads the
// library of the token's vendor: neither has a place in a registry. The caller
// finds it on PATH as sigstore-kms-bonded-pkcs11 and names keys
// bonded-pkcs11://token=LABEL;object=LABEL. See docs/operate/keys.md.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
)

// scheme starts the names of keys.
const scheme = "bonded-pkcs11://"

// patience bounds one call where the caller says nothing else. A token that does
// not answer must not keep a server waiting.
const patience = 30 * time.Second

const usage = `sigstore-kms-bonded-pkcs11 keeps private keys in a PKCS #11 token. bonded and cosign call it; by hand it does

  sigstore-kms-bonded-pkcs11 create-key bonded-pkcs11://token=LABEL;object=LABEL [ALGORITHM]
  sigstore-kms-bonded-pkcs11 public-key bonded-pkcs11://token=LABEL;object=LABEL

and prints the public key in PEM. Algorithms: %s (the first is the default).

Environment:
  BONDED_PKCS11_MODULE    the library of the token, where the name of the key has no ?module-path=
  BONDED_PKCS11_PIN_FILE  a file with the PIN that only its owner may read, where the name has no &pin-source=
  BONDED_PKCS11_PIN       the PIN itself, where there is no such file
`

// Exit codes. Whoever speaks the protocol reads the answer and not these.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, env func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) < 2 || len(args) > 3 {
		fmt.Fprintf(stderr, usage, strings.Join(algorithmNames(), ", "))
		return exitUsage
	}
	switch args[0] {
	case common.ProtocolVersion:
		return answer(args, env, stdin, stdout)
	case "create-key", "public-key":
		return byHand(args, env, stdout, stderr)
	}
	if strings.HasPrefix(args[0], "v") {
		// The protocol says: an answer is JSON in any case.
		_ = handler.WriteErrorResponse(stdout, fmt.Errorf("the plug-in speaks protocol %s, and was asked in %.20q: bring one of the caller's age", common.ProtocolVersion, args[0]))
		return exitFailed
	}
	fmt.Fprintf(stderr, usage, strings.Join(algorithmNames(), ", "))
	return exitUsage
}

// answer is one call of the protocol. There is one answer on stdout, whatever
// happens.
func answer(args []string, env func(string) string, stdin io.Reader, stdout io.Writer) int {
	var out, refusal bytes.Buffer
	call, err := handler.GetPluginArgs(append([]string{""}, args...))
	if err == nil && (call.InitOptions == nil || call.MethodArgs == nil) {
		err = errors.New("the call has no options, or names no method")
	}
	if err == nil {
		err = within(deadline(call), func() error { return dispatch(&out, stdin, call, env) })
	}
	if err != nil { // and whoever works on the call may still write to out
		_ = handler.WriteErrorResponse(&refusal, err)
		_, _ = stdout.Write(refusal.Bytes())
		return exitFailed
	}
	if _, err := stdout.Write(out.Bytes()); err != nil {
		return exitFailed
	}
	return exitDone
}

// dispatch lets the handler of sigstore take the call apart. It follows pointers
// that a caller may have left out.
func dispatch(out io.Writer, stdin io.Reader, call *common.PluginArgs, env func(string) string) (err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("the call %.40q is not whole: %v", call.MethodName, broken)
		}
	}()
	k, err := parseName(call.InitOptions.KeyResourceID, env)
	if err != nil {
		return err
	}
	t := &token{name: k, hash: call.InitOptions.HashFunc}
	defer t.close()
	_, err = handler.Dispatch(out, stdin, call, t)
	return err
}

// deadline is the earliest that the call has.
func deadline(call *common.PluginArgs) time.Time {
	end := time.Now().Add(patience)
	all := []*time.Time{call.InitOptions.CtxDeadline}
	if a := call.CreateKey; a != nil {
		all = append(all, a.CtxDeadline)
	}
	if a := call.PublicKey; a != nil && a.PublicKeyOptions != nil {
		all = append(all, a.PublicKeyOptions.RPCOptions.CtxDeadline)
	}
	if a := call.SignMessage; a != nil && a.SignOptions != nil {
		all = append(all, a.SignOptions.RPCOptions.CtxDeadline)
	}
	for _, d := range all {
		if d != nil && d.Before(end) {
			end = *d
		}
	}
	return end
}

// within runs work, and gives up on it at a time: a library that hangs cannot be
// told to stop, but the process can end.
func within(end time.Time, work func() error) error {
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- work() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.New("the token did not answer in time: is it connected, and the service of its library running?")
	}
}

// byHand is for people.
func byHand(args []string, env func(string) string, stdout, stderr io.Writer) int {
	name, ok := strings.CutPrefix(args[1], scheme)
	if !ok {
		fmt.Fprintf(stderr, "%.100q is no name of a key: it starts with %s\n", args[1], scheme)
		return exitUsage
	}
	if args[0] == "public-key" && len(args) > 2 {
		fmt.Fprintln(stderr, "public-key takes the name of a key and nothing else")
		return exitUsage
	}
	var text []byte
	err := within(time.Now().Add(patience), func() (err error) {
		text, err = publicKey(args, name, env)
		return err
	})
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	if _, err := stdout.Write(text); err != nil {
		return exitFailed
	}
	return exitDone
}

func publicKey(args []string, name string, env func(string) string) ([]byte, error) {
	k, err := parseName(name, env)
	if err != nil {
		return nil, err
	}
	t := &token{name: k}
	defer t.close()
	if args[0] == "public-key" {
		pub, err := t.PublicKey()
		if err != nil {
			return nil, err
		}
		return cryptoutils.MarshalPublicKeyToPEM(pub)
	}
	algorithm := t.DefaultAlgorithm()
	if len(args) > 2 {
		algorithm = args[2]
	}
	pub, err := t.CreateKey(context.Background(), algorithm)
	if err != nil {
		return nil, err
	}
	return cryptoutils.MarshalPublicKeyToPEM(pub)
}
