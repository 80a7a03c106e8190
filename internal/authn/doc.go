// Package authn says who is asking.
package authn
