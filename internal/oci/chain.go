package oci

// ChainIDs returns, for each layer, the digest over it and all below it: the
// ChainID of the image specification. "ChainID(L₀|...|Lₙ₋₁|Lₙ) =
// Digest(ChainID(L₀|...|Lₙ₋₁) + " " + DiffID(Lₙ))". Images whose layers begin
// alike have the first of them in common.
func ChainIDs(diffIDs []Digest) []Digest {
	ids := make([]Digest, len(diffIDs))
	for i, d := range diffIDs {
		if ids[i] = d; i > 0 {
			ids[i] = FromBytes([]byte(ids[i-1].String() + " " + d.String()))
		}
	}
	return ids
}
