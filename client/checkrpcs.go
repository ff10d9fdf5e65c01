package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/pollbridge/pollbridge/internal/netcheck"
)

const (
	rpcsLimit   = time.Minute
	rpcs        = 8    // messages of each streaming RPC
	rpcSize     = 2000 // bytes of each
	rpcPause    = 100 * time.Millisecond
	cutAfter    = rpcs / 2 // messages
	checkPrefix = "/" + netcheck.Service + "/"
)

// checkRPCs makes RPCs of all four kinds on a session of their own, over one
// transport, and cuts every connection in the middle of them. It returns how
// long all took.
func checkRPCs(ctx context.Context, base, transport string, cfg Config) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, rpcsLimit)
	defer cancel()
	lines := newWires(&cfg)
	cfg.Transports, cfg.Lazy, cfg.OnState = []string{transport}, false, nil
	start := time.Now()
	ch, err := New(base, cfg)
	if err != nil {
		return 0, err
	}
	defer ch.Close()
	errs := make([]error, 4)
	var all sync.WaitGroup
	for i, kind := range []func(context.Context, grpc.ClientConnInterface, *wires) error{checkUnary, checkServer, checkClient, checkBidi} {
		all.Go(func() { errs[i] = kind(ctx, ch, lines) })
	}
	all.Wait()
	took := time.Since(start)
	err = errors.Join(errs...)
	switch last := ch.State().LastError; {
	case err == nil:
		return took, nil
	case status.Code(errs[0]) == codes.Unauthenticated:
		return took, fmt.Errorf("%w: %s", netcheck.ErrUnauthenticated, status.Convert(errs[0]).Message())
	case last != nil:
		return took, fmt.Errorf("%s; last trouble on the way: %w", status.Convert(firstOf(errs)).Message(), last)
	}
	return took, firstOf(errs)
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkUnary(ctx context.Context, cc grpc.ClientConnInterface, _ *wires) error {
	sent, got := randomBytes(rpcSize), &wrapperspb.BytesValue{}
	if err := cc.Invoke(ctx, checkPrefix+"Unary", wrapperspb.Bytes(sent), got); err != nil {
		return err
	}
	return same("unary", sent, got.GetValue())
}

func checkServer(ctx context.Context, cc grpc.ClientConnInterface, _ *wires) error {
	stream, err := openRPC(ctx, cc, "Server", false, true)
	if err != nil {
		return err
	}
	sent := randomBytes(rpcSize)
	if err := errors.Join(stream.SendMsg(wrapperspb.Bytes(sent)), stream.CloseSend()); err != nil {
		return err
	}
	return collect("server-streaming", stream, sent)
}

func checkClient(ctx context.Context, cc grpc.ClientConnInterface, _ *wires) error {
	stream, err := openRPC(ctx, cc, "Client", true, false)
	if err != nil {
		return err
	}
	var sent []byte
	for range rpcs {
		one := randomBytes(rpcSize)
		sent = append(sent, one...)
		if err := stream.SendMsg(wrapperspb.Bytes(one)); err != nil {
			break // RecvMsg tells why
		}
		pauseFor(ctx, rpcPause)
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return collect("client-streaming", stream, sent)
}

// checkBidi waits for each echo, and cuts the connections in the middle.
func checkBidi(ctx context.Context, cc grpc.ClientConnInterface, w *wires) error {
	stream, err := openRPC(ctx, cc, "Bidi", true, true)
	if err != nil {
		return err
	}
	for i := range rpcs {
		sent, got := randomBytes(rpcSize), &wrapperspb.BytesValue{}
		if err := stream.SendMsg(wrapperspb.Bytes(sent)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if i == cutAfter {
			w.cut()
		}
		if err := stream.RecvMsg(got); err != nil {
			return err
		}
		if err := same("bidirectional", sent, got.GetValue()); err != nil {
			return err
		}
		pauseFor(ctx, rpcPause)
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return collect("bidirectional", stream, nil)
}

func openRPC(ctx context.Context, cc grpc.ClientConnInterface, method string, client, server bool) (grpc.ClientStream, error) {
	return cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: client, ServerStreams: server}, checkPrefix+method)
}

// collect reads messages to the RPC's end and wants these bytes of them.
func collect(kind string, stream grpc.ClientStream, want []byte) error {
	var got []byte
	for {
		m := &wrapperspb.BytesValue{}
		err := stream.RecvMsg(m)
		if errors.Is(err, io.EOF) {
			return same(kind, want, got)
		}
		if err != nil {
			return err
		}
		got = append(got, m.GetValue()...)
	}
}

func same(kind string, want, got []byte) error {
	if !bytes.Equal(want, got) {
		return fmt.Errorf("%s RPC: %d bytes were to come, and %d others came", kind, len(want), len(got))
	}
	return nil
}

func randomBytes(n int) []byte {
	data := make([]byte, n)
	rand.Read(data)
	return data
}

func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// wires are the connections of a channel, to be cut.
type wires struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// newWires makes cfg dial through it. An HTTPClient of the user's own is left
// alone, and is not cut then.
func newWires(cfg *Config) *wires {
	w := &wires{open: make(map[net.Conn]struct{})}
	if cfg.HTTPClient != nil {
		return w
	}
	dial := cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.open[conn] = struct{}{}
		return conn, nil
	}
	return w
}

// cut closes all of them, as a failing network would.
func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.open {
		conn.Close()
	}
	clear(w.open)
}
