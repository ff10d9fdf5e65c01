package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/httpclient"
	"github.com/pollbridge/pollbridge/internal/netcheck/probe"
)

// pingLimit is below the timeouts of most supervisors.
const pingLimit = 5 * time.Second

// ping opens a session. A bridge that asks for a credential counts as healthy.
func ping(ctx context.Context, out io.Writer, url string, cfg client.Config) error {
	if _, err := httpclient.ParseURL(url); err != nil {
		return &usageError{err}
	}
	took, err := probe.Open(ctx, url, cfg, pingLimit)
	note := ""
	if errors.Is(err, probe.ErrUnauthenticated) {
		note, err = "; it asks for a credential", nil
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "ok, %v%s\n", took.Round(time.Millisecond), note)
	return err
}
