package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/client"
)

// pingLimit is below what supervisors mostly allow.
const pingLimit = 5 * time.Second

// pingMethod is that of an RPC which is made only when no session opens, to learn
// why.
const pingMethod = "/pollbridge.Ping/Ping"

// ping opens a session. A bridge that wants a login first is well too.
func ping(ctx context.Context, out io.Writer, url string, cfg client.Config) error {
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	phases := make(chan string, 1)
	cfg.OnState = func(s client.State) {
		if s.Phase != "open" && s.Phase != "idle" {
			return
		}
		select {
		case phases <- s.Phase:
		default: // the first says it
		}
	}
	began := time.Now()
	channel, err := client.New(url, cfg)
	if err != nil {
		return &usageError{err}
	}
	defer channel.Close()
	note := ""
	select {
	case phase := <-phases:
		if phase == "open" {
			break
		}
		err := channel.Invoke(ctx, pingMethod, nil, nil, grpc.ForceCodecV2(emptyCodec{}))
		if status.Code(err) != codes.Unauthenticated {
			return fmt.Errorf("no session: %w", err)
		}
		note = "; it asks for a credential"
	case <-ctx.Done():
		return fmt.Errorf("no session within %v: %w", pingLimit, cmp.Or(channel.State().LastError, context.Cause(ctx)))
	}
	_, err = fmt.Fprintf(out, "ok, %v%s\n", time.Since(began).Round(time.Millisecond), note)
	return err
}

// emptyCodec sends and takes messages of no bytes.
type emptyCodec struct{}

func (emptyCodec) Marshal(any) (mem.BufferSlice, error) { return nil, nil }
func (emptyCodec) Unmarshal(mem.BufferSlice, any) error { return nil }
func (emptyCodec) Name() string                         { return "proto" }

var _ encoding.CodecV2 = emptyCodec{}
