// Package accesslog writes a bridge.Config's AccessLog, or a part of it.
package accesslog

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
)

// Config says what is written. Its zero value writes everything, as JSON.
type Config struct {
	// To is where: "stdout", "stderr" or a file. For the caller.
	To string
	// Format is "json" or "text". Default: json.
	Format string
	// Sample is the share, above 0 and at most 1, of the RPCs with code OK that
	// are written. Default: 1.
	Sample float64
	// Codes are the only ones that are written, by the names that metrics have.
	// Default: all.
	Codes []string
}

// New returns a bridge.Config's AccessLog.
func New(to io.Writer, cfg Config) *slog.Logger {
	options := &slog.HandlerOptions{ReplaceAttr: withoutLevel}
	h := filter{Handler: slog.NewJSONHandler(to, options), codes: cfg.Codes, sample: cfg.Sample}
	if cfg.Format == "text" {
		h.Handler = slog.NewTextHandler(to, options)
	}
	return slog.New(h)
}

// withoutLevel leaves out what is the same in every line.
func withoutLevel(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.LevelKey {
		return slog.Attr{}
	}
	return a
}

// filter passes some of the records on.
type filter struct {
	slog.Handler
	codes  []string
	sample float64
}

// Handle implements slog.Handler.
func (f filter) Handle(ctx context.Context, r slog.Record) error {
	code := ""
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "code" {
			code = a.Value.String()
		}
		return code == ""
	})
	if len(f.codes) > 0 && !slices.Contains(f.codes, code) {
		return nil
	}
	if code == codes.OK.String() && f.sample > 0 && f.sample < 1 && rand.Float64() >= f.sample { //nolint:gosec // a sample, no secret
		return nil
	}
	return f.Handler.Handle(ctx, r)
}

// Codes are the names that a code may have in Config.Codes.
func Codes() []string {
	var names []string
	for c := codes.OK; c <= codes.Unauthenticated; c++ {
		names = append(names, c.String())
	}
	return names
}

// Code finds the name of a code written in any usual way: "NOT_FOUND", "NotFound".
func Code(text string) (name string, ok bool) {
	plain := strings.ReplaceAll(text, "_", "")
	i := slices.IndexFunc(Codes(), func(c string) bool { return strings.EqualFold(c, plain) })
	if strings.EqualFold(plain, "cancelled") {
		return codes.Canceled.String(), true
	}
	if i < 0 {
		return "", false
	}
	return Codes()[i], true
}
