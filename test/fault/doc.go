// Package fault breaks running servers and looks at what is left: it kills the
// real program during pushes and promotions, cuts the power under it, and fails
// its system calls.
//
// A power cut is played from a record. strace writes down every call by which a
// server changed its data folder, SQLite's included; the calls up to some moment
// are made again on the file system of disktest, which then forgets what was not
// synced; and a real server is started on what remains. What was acknowledged
// before that moment must be there.
//
// BONDED_FAULT_RUNS says how often each is done; the default is 10.
package fault
