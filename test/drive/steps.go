package drive

import "testing"

// Step is one of a test that goes a way from its start to its end: each stands on
// those before it. W is what they know of the server and of each other.
type Step[W any] struct {
	Name string
	Do   func(W)
}

// Walk takes the steps in order, each as a test of its own that w has as its *t
// meanwhile. After one that fails there are no more.
func Walk[W any](t **testing.T, server *Server, w W, steps []Step[W]) {
	whole := *t
	defer func() { *t = whole }()
	for _, step := range steps {
		ok := whole.Run(step.Name, func(one *testing.T) {
			*t = one
			step.Do(w)
		})
		if !ok {
			whole.Fatalf("the way ends here; the server said:\n%s", server.Said())
		}
	}
}
