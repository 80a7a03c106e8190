package sign

import (
	"fmt"

	sumdb "golang.org/x/mod/sumdb/tlog"
)

// Hash is SHA-256.
type Hash = sumdb.Hash

// leafHash is the hash of a leaf (RFC 6962, 2.1); the data of a leaf is the
// SHA-256 of what is proven.
func leafHash(payload Hash) Hash { return sumdb.RecordHash(payload[:]) }

// split is the largest power of two below n; n is at least 2.
func split(n int) int {
	k := 1
	for k<<1 < n {
		k <<= 1
	}
	return k
}

// Root is the Merkle tree hash of leaves.
func Root(leaves []Hash) Hash {
	switch n := len(leaves); n {
	case 0:
		root, _ := sumdb.TreeHash(0, nil) // of the empty tree: no hash is read
		return root
	case 1:
		return leafHash(leaves[0])
	default:
		k := split(n)
		return sumdb.NodeHash(Root(leaves[:k]), Root(leaves[k:]))
	}
}

// Path is the audit path of a leaf, from the leaf to the root.
func Path(leaves []Hash, index int) []Hash {
	if len(leaves) < 2 {
		return nil
	}
	if k := split(len(leaves)); index < k {
		return append(Path(leaves[:k], index), Root(leaves[k:]))
	} else {
		return append(Path(leaves[k:], index-k), Root(leaves[:k]))
	}
}

// CheckPath reports whether the tree of a root and size has a payload at an
// index.
func CheckPath(path []Hash, size, index int64, payload, root Hash) error {
	if index < 0 || index >= size {
		return fmt.Errorf("checking a path: there is no leaf %d of %d", index, size)
	}
	if err := sumdb.CheckRecord(path, size, root, index, leafHash(payload)); err != nil {
		return fmt.Errorf("checking a path: %v", err)
	}
	return nil
}
