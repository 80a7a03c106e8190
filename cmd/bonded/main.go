// Command bonded is the registry, and the command that asks it.
package main

import (
	"context"
	"crypto/rand"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/bonded-dev/bonded/cmd/bonded/calm"
	"github.com/bonded-dev/bonded/internal/cli"
)

// long are the commands that run long, or make much of what they read.
var long = []string{"serve", "scan", "fsck", "init", "audit"}

func main() {
	if len(os.Args) > 1 && slices.Contains(long, os.Args[1]) {
		calm.Collect()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, environment(), streams(), os.Args[1:])
	stop()
	os.Exit(code)
}

// environment gathers what the command may know of the world.
func environment() cli.Env {
	host, err := os.Hostname()
	if err != nil {
		host = "" // tokens are then labelled without it
	}
	return cli.Env{
		Vars:     os.Environ(),
		Version:  version(),
		Clock:    time.Now,
		After:    time.After,
		Hostname: host,
		Rand:     rand.Reader,
		Deps:     parts(),
	}
}

// version is that of the module where it was built as one, else the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}

// streams are those of the process, with what a terminal can show.
func streams() cli.Stdio {
	s := cli.Stdio{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		InTerminal: isTerminal(os.Stdin), ErrTerminal: isTerminal(os.Stderr),
	}
	if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && width > 0 {
		s.Width = width
	}
	return s
}

func isTerminal(f interface{ Fd() uintptr }) bool { return term.IsTerminal(int(f.Fd())) }
