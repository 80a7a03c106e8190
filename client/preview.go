package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"

	"github.com/bonded-dev/bonded/api"
)

// PreviewGate asks what another gate would make of what stands in a zone, or waits
// there, and yields what is found as it comes; the last element has Done set, or
// the error. Breaking off the loop stops the preview.
func (c *Client) PreviewGate(ctx context.Context, req api.PreviewRequest) iter.Seq2[api.PreviewProgress, error] {
	return func(yield func(api.PreviewProgress, error) bool) {
		res, err := c.send(ctx, request{method: http.MethodPost, path: []string{"gates", "preview"}, body: req})
		if err != nil {
			yield(api.PreviewProgress{}, err)
			return
		}
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			var p api.PreviewProgress
			err := json.Unmarshal(lines.Bytes(), &p)
			switch {
			case err != nil:
				err = fmt.Errorf("reading progress of the preview: %v", err)
			case p.Error != nil:
				err = fromAPI(*p.Error, res.StatusCode)
			}
			if !yield(p, err) || err != nil || p.Done != nil {
				return
			}
		}
		if ctx.Err() != nil {
			yield(api.PreviewProgress{}, ctx.Err())
			return
		}
		if err = lines.Err(); err == nil {
			err = errors.New("the answer ended before the preview did")
		}
		yield(api.PreviewProgress{}, unreachable(c.base.Host, err))
	}
}
