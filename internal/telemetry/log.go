// Package telemetry is the observation of a running server: its log, its
// metrics, its traces, and the middleware that feeds all three from HTTP
// requests without getting into the way of the bytes.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// LogOptions say what is logged and how.
type LogOptions struct {
	// Level is "debug", "info", "warn" or "error"; "" is "info".
	Level string
	// Format is "text", "json", or "auto" and "": text where Terminal, JSON
	// otherwise.
	Format string
	// Terminal: a person reads it.
	Terminal bool
}

// NewLogger returns a logger that writes to w. Records logged with the context
// of a request carry its id, and those of a trace its trace id.
func NewLogger(w io.Writer, o LogOptions) (*slog.Logger, error) {
	level := slog.LevelInfo
	if o.Level != "" {
		if err := level.UnmarshalText([]byte(o.Level)); err != nil {
			return nil, fmt.Errorf("setting up the log: level %q is not one of debug, info, warn, error", o.Level)
		}
	}
	opts := &slog.HandlerOptions{Level: level}
	switch {
	case o.Format == "json" || (o.Format == "auto" || o.Format == "") && !o.Terminal:
		return slog.New(withContext{slog.NewJSONHandler(w, opts)}), nil
	case o.Format == "text" || o.Format == "auto" || o.Format == "":
		return slog.New(withContext{slog.NewTextHandler(w, opts)}), nil
	}
	return nil, fmt.Errorf("setting up the log: format %q is not one of auto, text, json", o.Format)
}

// requestKey is the key of a request's id in its context.
type requestKey struct{}

// RequestID returns the id of the request that ctx belongs to, "" for none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// withContext adds what the context knows to each record.
type withContext struct{ slog.Handler }

func (h withContext) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestID(ctx); id != "" {
		r.AddAttrs(slog.String("request", id))
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		r.AddAttrs(slog.String("trace", sc.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h withContext) WithAttrs(as []slog.Attr) slog.Handler {
	return withContext{h.Handler.WithAttrs(as)}
}

func (h withContext) WithGroup(name string) slog.Handler {
	return withContext{h.Handler.WithGroup(name)}
}
