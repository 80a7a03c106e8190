package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/pki"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/policy/policytest"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// exitCode is what the process exits with. Scripts rely on the numbers.
type exitCode int

// The exit codes.
const (
	exitDone         exitCode = 0 // allowed, or done
	exitDenied       exitCode = 1
	exitUsage        exitCode = 2 // the command line, a file it names, or a reference to nothing
	exitCannotTell   exitCode = 3 // held: a check could not be made
	exitNotPermitted exitCode = 4
	exitUnavailable  exitCode = 5 // a server that does not answer, or was asked to do two things at once
	exitInternal     exitCode = 6
)

// exitOf is the code of a gate's outcome.
func exitOf(o api.Outcome) exitCode {
	switch o {
	case api.Allow:
		return exitDone
	case api.Deny:
		return exitDenied
	case api.CannotTell:
		return exitCannotTell
	}
	return exitInternal
}

// failure is an error of a command with what to do about it.
type failure struct {
	code  exitCode
	what  string // what was being done, and why it was not
	next  string // the next step; "" when there is none to name
	cause error
}

func (f *failure) Error() string { return f.what }

func (f *failure) Unwrap() error { return f.cause }

// Unavailable is an error of one of the Deps that trying again later, or
// something beside the command line, may change: a data folder in use, a
// database that does not answer.
func Unavailable(err error, next string) error {
	return &failure{code: exitUnavailable, what: err.Error(), next: next, cause: err}
}

// Misused is an error of one of the Deps that another command line, or another
// file, would not have.
func Misused(err error, next string) error {
	return &failure{code: exitUsage, what: err.Error(), next: next, cause: err}
}

// usage is a failure that another command line would not have.
func usage(next, format string, operands ...any) error {
	return &failure{code: exitUsage, what: fmt.Sprintf(format, operands...), next: next}
}

// misused is what is wrong with a command line that was not carried out.
func (p *program) misused(cmd *cobra.Command, err error) error {
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	what := err.Error()
	if names, ok := strings.CutPrefix(what, "required flag(s) "); ok { // as cobra says it
		names = strings.TrimSuffix(names, " not set")
		what = cmd.CommandPath() + " wants --" + strings.ReplaceAll(strings.ReplaceAll(strings.Trim(names, `"`), `", "`, " and --"), `"`, "")
	}
	return &failure{code: exitUsage, what: what, next: cmd.CommandPath() + " --help", cause: err}
}

// kinds maps errors of other packages to exit codes, first match first. What
// is in no row is internal.
var kinds = []struct {
	err  error
	code exitCode
	next string // the next step, where the error's text does not name it
}{
	{config.ErrInvalid, exitUsage, ""},
	{config.ErrSecret, exitUsage, ""},
	{policy.ErrGateInvalid, exitUsage, ""},
	{policytest.ErrSuiteInvalid, exitUsage, ""},
	{oci.ErrNameInvalid, exitUsage, ""},
	{oci.ErrTagInvalid, exitUsage, ""},
	{oci.ErrDigestInvalid, exitUsage, ""},
	{oci.ErrManifestInvalid, exitUsage, ""},
	{authz.ErrGrantInvalid, exitUsage, ""},
	{authz.ErrNotPermitted, exitNotPermitted, ""},
	{authz.ErrUnauthenticated, exitNotPermitted, ""},
	{syscall.EADDRINUSE, exitUnavailable, "see who listens there: ss -ltnp"},
	{syscall.EADDRNOTAVAIL, exitUsage, "an address of this machine, or :PORT for all of them"},
	{syscall.EROFS, exitUnavailable, "make it writable, or choose another folder: --data FOLDER"},
	{syscall.ENOSPC, exitUnavailable, "make room on that disk, or choose another folder: --data FOLDER"},
	{syscall.EDQUOT, exitUnavailable, "make room in that quota, or choose another folder: --data FOLDER"},
	{syscall.ENOTDIR, exitUsage, "a folder is needed there, and a file is in its place"},
	{fs.ErrPermission, exitNotPermitted, "run it as the user who owns that, or choose another folder or port"},
	{pki.ErrOutside, exitUsage, ""},
	{pki.ErrUnusable, exitUnavailable, ""},
	{trust.ErrUnusable, exitUnavailable, "what each key needs, and where it may be: docs/operate/keys.md"},
	{tlog.ErrBehind, exitUnavailable, "find the newest copy of the database; what each refusal means: docs/operate/audit.md"},
	{tlog.ErrFork, exitUnavailable, "keep this database for whoever looks into it; what each refusal means: docs/operate/audit.md"},
	{fs.ErrNotExist, exitUsage, "is the path right?"},
	{context.Canceled, exitUnavailable, ""},
	{context.DeadlineExceeded, exitUnavailable, ""},
}

// diagnose finds out what kind of error it is.
func diagnose(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var asked *client.Error
	if errors.As(err, &asked) {
		return &failure{code: exitCode(asked.ExitCode()), what: asked.Message, next: asked.Next, cause: err}
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return &failure{code: k.code, what: err.Error(), next: k.next, cause: err}
		}
	}
	return &failure{code: exitInternal, what: err.Error(), next: "if this should not happen, report it with the output of: bonded version", cause: err}
}

// codeNames are the codes that programs see, as in api.Error.
var codeNames = map[exitCode]string{
	exitDenied: "denied", exitUsage: "invalid", exitCannotTell: "held",
	exitNotPermitted: "not-permitted", exitUnavailable: "unavailable", exitInternal: "internal",
}

// fail says the error on the error stream and returns the exit code.
func (p *program) fail(ctx context.Context, err error) exitCode {
	f := diagnose(err)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		f = &failure{code: exitUnavailable, what: "interrupted"}
	}
	if p.output == outputJSON || p.output == outputYAML {
		b, err := json.Marshal(api.Error{Code: codeNames[f.code], Message: f.what, Next: f.next})
		if err == nil {
			fmt.Fprintln(p.io.Err, string(b))
			return f.code
		}
	}
	st := p.styles(p.io.Err, p.io.ErrTerminal)
	fmt.Fprintln(p.io.Err, st.bad.Render("bonded:")+" "+cleanLines(strings.TrimSpace(f.what)))
	if f.next != "" {
		fmt.Fprintln(p.io.Err, st.faint.Render("next:")+"   "+cleanLines(f.next))
	}
	return f.code
}
