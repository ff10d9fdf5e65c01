package transporttest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// Methods of the service.
const (
	methodEcho   = "/test/Echo"   // sends each message back
	methodSource = "/test/Source" // sends sourceCount messages
	methodSink   = "/test/Sink"   // reads nothing before release is closed
)

// gRPC status codes.
const (
	codeOK          = 0
	codeCancelled   = 1
	codeUnavailable = 14
)

const (
	sourceCount = 256
	sourceSize  = 16 << 10
)

// service is what the suite's RPCs call. It counts what it is asked to do.
type service struct {
	release chan struct{}

	mu      sync.Mutex
	started map[string]int   // by RPC name
	causes  map[string]error // why the RPC's context ended
	open    int
	maxOpen int
	sent    int // messages that Source's Send took
	taken   int // messages that Sink took
}

func newService() *service {
	return &service{release: make(chan struct{}), started: make(map[string]int), causes: make(map[string]error)}
}

// handle is registry.Config.Handle.
func (s *service) handle(st *registry.Stream) {
	name := st.Request().Metadata[0].Value
	s.count(func() {
		s.started[name]++
		s.open++
		s.maxOpen = max(s.maxOpen, s.open)
	})
	defer s.count(func() { s.open-- })
	var err error
	switch st.Request().Method {
	case methodEcho:
		err = s.echo(st)
	case methodSource:
		err = s.source(st, name)
	case methodSink:
		err = s.sink(st)
	}
	if err != nil {
		s.count(func() { s.causes[name] = context.Cause(st.Context()) })
		st.End(wire.End{Status: codeCancelled, Message: err.Error()})
		return
	}
	st.End(wire.End{Status: codeOK, Trailers: st.Request().Metadata})
}

func (s *service) echo(st *registry.Stream) error {
	if err := st.SendHeaders(st.Request().Metadata); err != nil {
		return err
	}
	for {
		m, err := st.Recv(st.Context())
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := st.Send(st.Context(), m); err != nil {
			return err
		}
	}
}

func (s *service) source(st *registry.Stream, name string) error {
	for i := range sourceCount {
		m := engine.Message{Pieces: [][]byte{payload(name, i, sourceSize)}}
		if err := st.Send(st.Context(), m); err != nil {
			return err
		}
		s.count(func() { s.sent++ })
	}
	return nil
}

func (s *service) sink(st *registry.Stream) error {
	if err := st.SendHeaders(nil); err != nil {
		return err
	}
	select {
	case <-s.release:
	case <-st.Context().Done():
		return context.Cause(st.Context())
	}
	for {
		_, err := st.Recv(st.Context())
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.count(func() { s.taken++ })
	}
}

func (s *service) count(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// payload is message number i of an RPC. No two messages, and no two places in
// one, look alike.
func payload(name string, i, size int) []byte {
	p := append(make([]byte, 0, size+64), name+"/"+strconv.Itoa(i)+"/"...)
	for at := uint64(i) << 32; len(p) < size; at++ {
		p = binary.BigEndian.AppendUint64(p, at)
	}
	return p[:size]
}

// open opens an RPC whose name the service can tell.
func (r *rig) open(ctx context.Context, method, name string) (*dialer.Stream, error) {
	return r.client.Open(ctx, wire.Open{Method: method, Metadata: []wire.Metadatum{{Key: "name", Value: name}}})
}

// echo runs one RPC that sends messages of the given sizes, and checks what
// comes back to the byte.
func (r *rig) echo(ctx context.Context, name string, sizes []int) error {
	st, err := r.open(ctx, methodEcho, name)
	if err != nil {
		return fmt.Errorf("%s: open: %w", name, err)
	}
	sent := make(chan error, 1)
	go func() { sent <- sendAll(ctx, st, name, sizes) }()
	err = errors.Join(recvAll(ctx, st, name, sizes), <-sent)
	if err != nil {
		st.Cancel()
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func sendAll(ctx context.Context, st *dialer.Stream, name string, sizes []int) error {
	for i, size := range sizes {
		if err := st.Send(ctx, engine.Message{Pieces: [][]byte{payload(name, i, size)}}); err != nil {
			return fmt.Errorf("send %d: %w", i, err)
		}
	}
	return st.CloseSend()
}

// recvAll expects the messages, and after them status OK with the trailers.
func recvAll(ctx context.Context, st *dialer.Stream, name string, sizes []int) error {
	for i, size := range sizes {
		m, err := st.Recv(ctx)
		if err != nil {
			return fmt.Errorf("receive %d of %d: %w, status %+v", i, len(sizes), err, st.Status())
		}
		if got := join(m); string(got) != string(payload(name, i, size)) {
			return fmt.Errorf("message %d: got %d bytes %.40q, want %d of another content", i, len(got), got, size)
		}
	}
	if m, err := st.Recv(ctx); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the last message: %d bytes, %w", m.Len(), err)
	}
	end := st.Status()
	if end.Status != codeOK {
		return fmt.Errorf("status %d %q, want OK", end.Status, end.Message)
	}
	if len(end.Trailers) != 1 || end.Trailers[0].Value != name {
		return fmt.Errorf("trailers %v", end.Trailers)
	}
	return nil
}

func join(m engine.Message) []byte {
	var p []byte
	for _, piece := range m.Pieces {
		p = append(p, piece...)
	}
	return p
}
