package probe

import (
	"bytes"
	"cmp"
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

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/netcheck"
)

const (
	openLimit = 10 * time.Second
	rpcsLimit = time.Minute
	messages  = 8    // of each streaming RPC
	size      = 2000 // bytes of each message
	gap       = 100 * time.Millisecond
	cutAfter  = messages / 2
	service   = "/" + netcheck.Service + "/"
)

// ErrUnauthenticated is wrapped by the error of a session that the bridge did not
// admit.
var ErrUnauthenticated = errors.New("the bridge wants a credential")

// Open opens a session to the bridge at url, which is as in client.New, and closes
// it again. It returns how long the opening took. The bridge need not have its
// network check switched on, and its backends need not be reachable.
func Open(ctx context.Context, url string, cfg client.Config, limit time.Duration) (time.Duration, error) {
	phases := make(chan string, 1)
	cfg.OnState = func(s client.State) {
		if s.Phase != "open" && s.Phase != "idle" {
			return
		}
		select {
		case phases <- s.Phase:
		default: // only the first counts
		}
	}
	return onChannel(ctx, url, cfg, limit, func(ctx context.Context, ch *client.Channel) error {
		select {
		case phase := <-phases:
			if phase == "open" {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("no session within %v: %w", limit, cmp.Or(ch.State().LastError, ctx.Err()))
		}
		// The session is over before it opened; an RPC on it ends with the reason.
		return ch.Invoke(ctx, service+"Unary", &wrapperspb.BytesValue{}, &wrapperspb.BytesValue{})
	})
}

// client returns the configuration of a Channel over one transport.
func (r *runner) client(transport string) client.Config {
	cfg := r.cfg.Client
	return client.Config{
		Transports: []string{transport}, TLS: cfg.TLS, Proxy: cfg.Proxy, Dial: cfg.Dial, Header: cfg.Header, Token: cfg.Token,
	}
}

// open opens a session over one transport. It returns how long that took.
func (r *runner) open(ctx context.Context, transport string) (time.Duration, error) {
	return Open(ctx, r.base, r.client(transport), openLimit)
}

// rpcs makes RPCs of all four kinds at once, on a session of their own over one
// transport, and cuts every connection in the middle of them. It returns how
// long they took.
func (r *runner) rpcs(ctx context.Context, transport string) (time.Duration, error) {
	cfg := r.client(transport)
	lines := &wires{dial: cfg.Dial, open: make(map[net.Conn]struct{})}
	cfg.Dial = lines.dialContext
	return onChannel(ctx, r.base, cfg, rpcsLimit, func(ctx context.Context, ch *client.Channel) error {
		kinds := []func(context.Context, *client.Channel, *wires) error{unary, serverStream, clientStream, bidi}
		errs := make([]error, len(kinds))
		var all sync.WaitGroup
		for i, kind := range kinds {
			all.Go(func() { errs[i] = kind(ctx, ch, lines) })
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// onChannel runs use on a Channel, for limit at most. It returns how long that
// took; the error includes the last one on the way.
func onChannel(ctx context.Context, url string, cfg client.Config, limit time.Duration, use func(context.Context, *client.Channel) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	ch, err := client.New(url, cfg)
	if err != nil {
		return 0, err
	}
	defer ch.Close()
	err = use(ctx, ch)
	took := time.Since(start)
	st, ok := status.FromError(err)
	last := ch.State().LastError
	switch {
	case err == nil, !ok:
		return took, err
	case st.Code() == codes.Unauthenticated:
		return took, fmt.Errorf("%w: %s", ErrUnauthenticated, st.Message())
	case last != nil:
		return took, fmt.Errorf("%s; last error on the way: %w", st.Message(), last)
	}
	return took, errors.New(st.Message())
}

func unary(ctx context.Context, ch *client.Channel, _ *wires) error {
	sent, got := randomBytes(size), &wrapperspb.BytesValue{}
	if err := ch.Invoke(ctx, service+"Unary", wrapperspb.Bytes(sent), got); err != nil {
		return err
	}
	return same("unary", sent, got.GetValue())
}

func serverStream(ctx context.Context, ch *client.Channel, _ *wires) error {
	stream, err := openRPC(ctx, ch, "Server", false, true)
	if err != nil {
		return err
	}
	sent := randomBytes(size)
	if err := errors.Join(stream.SendMsg(wrapperspb.Bytes(sent)), stream.CloseSend()); err != nil {
		return err
	}
	return collect("server-streaming", stream, sent)
}

func clientStream(ctx context.Context, ch *client.Channel, _ *wires) error {
	stream, err := openRPC(ctx, ch, "Client", true, false)
	if err != nil {
		return err
	}
	var sent []byte
	for range messages {
		one := randomBytes(size)
		sent = append(sent, one...)
		if err := stream.SendMsg(wrapperspb.Bytes(one)); err != nil {
			break // RecvMsg returns why
		}
		pause(ctx, gap)
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return collect("client-streaming", stream, sent)
}

// bidi waits for each echo, and cuts the connections in the middle.
func bidi(ctx context.Context, ch *client.Channel, w *wires) error {
	stream, err := openRPC(ctx, ch, "Bidi", true, true)
	if err != nil {
		return err
	}
	for i := range messages {
		sent, got := randomBytes(size), &wrapperspb.BytesValue{}
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
		pause(ctx, gap)
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return collect("bidirectional", stream, nil)
}

func openRPC(ctx context.Context, ch *client.Channel, method string, client, server bool) (grpc.ClientStream, error) {
	return ch.NewStream(ctx, &grpc.StreamDesc{ClientStreams: client, ServerStreams: server}, service+method)
}

// collect reads messages to the RPC's end and compares their bytes with want.
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
		return fmt.Errorf("%s RPC: got %d bytes that differ from the %d wanted", kind, len(got), len(want))
	}
	return nil
}

func randomBytes(n int) []byte {
	data := make([]byte, n)
	rand.Read(data)
	return data
}

// wires are the open connections of a channel.
type wires struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func (w *wires) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := w.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[conn] = struct{}{}
	return conn, nil
}

// cut closes every connection, as a failing network would.
func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.open {
		conn.Close()
	}
	clear(w.open)
}
