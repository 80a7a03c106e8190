// Package authn is who is asking: accounts of people and machines, the one-time
// codes they enrol with, the long-lived tokens that gives them, and the
// short-lived bearer tokens that registry clients get for those.
//
// A secret is known to its owner alone; what is kept is its hash. A bearer
// token is signed, carries what it may be used for, and names the token it was
// made for: it is worth nothing when that token or its account is not good any
// more. That is looked up at most Fresh (5 seconds) ago, or since the last
// change that this process made: a revocation works at once in the process
// that did it, and within Fresh in others on the same database.
package authn
