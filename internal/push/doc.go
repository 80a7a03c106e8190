// Package push brings bytes in: it is the only write path of content.
//
// An upload is hashed while it is written and followed by analysis while it
// arrives; a manifest whose content is all there goes into the intake, or
// beside its subject when it is evidence. Deciding is somebody else's: a push
// that was acknowledged leaves a job behind that does it.
package push
