package httpapi

import "github.com/bonded-dev/bonded/api"

// previewGate answers with what a gate would do, as it is found.
func (c *call) previewGate() error {
	act, err := c.administer()
	if err != nil {
		return err
	}
	var req api.PreviewRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	if err := checkZone(req.Zone); err != nil {
		return err
	}
	s := &stream{c: c}
	done, err := c.o.Zones.Preview(c.r.Context(), act, req, func(p api.PreviewProgress) {
		_ = s.send(p) // a client that went away ends the context, and the preview with it
	})
	last := api.PreviewProgress{Done: done}
	switch {
	case err != nil && !s.begun:
		return err
	case err != nil:
		a := c.answerTo(err)
		last.Error = &a.Error
	default:
		last.Judged, last.Total = done.Judged, done.Judged
	}
	_ = s.send(last) // nothing is left to tell a client that is gone
	return nil
}
