package tlog

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
)

// sizeType is the content type of an answer that says which size was seen.
const sizeType = "text/x.tlog.size"

// maxProof is how many hashes a consistency proof has at most: "The client MUST
// NOT send more than 63 consistency proof lines."
const maxProof = 63

// maxRequest bounds a question to a witness, in bytes.
const maxRequest = maxNote + maxProof*45 + 64

// formatRequest is the body of add-checkpoint: the size seen before, the proof
// from there, an empty line, the checkpoint.
func formatRequest(from int64, proof []Hash, signed []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", from)
	for _, h := range proof {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteByte('\n')
	b.Write(signed)
	return b.Bytes()
}

// parseRequest reads the body of add-checkpoint. Errors match ErrMalformed.
func parseRequest(body []byte) (from int64, proof []Hash, signed []byte, err error) {
	bad := func(why string) (int64, []Hash, []byte, error) {
		return 0, nil, nil, fmt.Errorf("%w: a request for a cosignature %s", ErrMalformed, why)
	}
	head, signed, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok || len(body) > maxRequest {
		return bad("is a size, a proof, an empty line and a checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	old, ok := strings.CutPrefix(lines[0], "old ")
	if !ok {
		return bad(`begins with "old " and a size`)
	}
	if from, err = parseSize(old); err != nil {
		return bad(`begins with "old " and a size`)
	}
	if len(lines)-1 > maxProof {
		return bad("has at most 63 lines of proof")
	}
	for _, line := range lines[1:] {
		h, err := parseHash(line)
		if err != nil {
			return bad("has a hash in base64 in each line of its proof")
		}
		proof = append(proof, h)
	}
	return from, proof, signed, nil
}
