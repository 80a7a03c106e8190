package main

import (
	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/server"
)

// parts are those of the program that commands need beside a server to ask.
func parts() cli.Deps { return server.Parts(version()) }
