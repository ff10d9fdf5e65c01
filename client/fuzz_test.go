package client_test

import (
	"context"

	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/registry"
)

// FuzzCaller: whatever a caller passes, the bridge can read what the client makes of
// it, and no RPC but the caller's own suffers.
func FuzzCaller(f *testing.F) {
	f.Add("/pkg.Service/Method", "key", "value", "key-bin", "\x00\xff", int64(time.Second), "token", "hello")
	f.Add("pkg.Service/Method", "KEY", "a\r\nb", ":path", "é", int64(-1), "a\xff", "")
	f.Add("/a/../b.C/M", "grpc-timeout", "1S", "", "", int64(1)<<62, "\x00", "\xff")
	f.Fuzz(func(t *testing.T, method, key, value, binKey, binValue string, timeout int64, token, message string) {
		bridge := newEchoes(registry.Config{})
		defer bridge.registry.Close()
		server := httptest.NewServer(bridge)
		defer server.Close()
		channel, err := client.New(server.URL, client.Config{
			Transports: []string{"longpoll"}, Token: func(context.Context) (string, error) { return token, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer channel.Close()
		within := min(max(time.Duration(timeout), 0), 20*time.Millisecond) // nothing takes long but what is refused
		if timeout > int64(time.Hour) {
			within = time.Duration(timeout)
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		ctx = metadata.NewOutgoingContext(ctx, metadata.MD{key: {value}, binKey: {binValue, value}})
		_ = channel.Invoke(ctx, method, wrapperspb.String(message), new(wrapperspb.StringValue), grpc.UseCompressor("identity"))
		stats := bridge.registry.Stats()
		if stats.Refusals["garbled"] > 0 || stats.SessionsClosed["protocol_violation"] > 0 {
			t.Errorf("refused: %v; sessions closed: %v", stats.Refusals, stats.SessionsClosed)
		}
	})
}
