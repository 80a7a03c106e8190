module example.org/badapp

go 1.21

require (
	golang.org/x/crypto v0.0.0-20220314234659-1baeb1ce4c0b
	golang.org/x/net v0.0.0-20220906165146-f3363e06e74c
	golang.org/x/text v0.3.7
)

require golang.org/x/sys v0.0.0-20220728004956-3c1f35247d10 // indirect
