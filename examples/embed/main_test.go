package main

import (
	"context"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/pollbridge/pollbridge/client"
)

func Test(t *testing.T) {
	server, state := grpc.NewServer(), health.NewServer()
	defer server.Stop()
	grpc_health_v1.RegisterHealthServer(server, state)
	handler, b, err := newHandler(server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	web := httptest.NewServer(handler)
	defer web.Close()

	for path, want := range map[string]string{"/": "/bridge/client.js", "/bridge/client.js": "Channel"} {
		answer, err := web.Client().Get(web.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != 200 || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d, %v", path, answer.StatusCode, err)
		}
	}
	ch, err := client.New(web.URL, client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch, err := grpc_health_v1.NewHealthClient(ch).Watch(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{
		grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING,
	} {
		got, err := watch.Recv()
		if err != nil || got.GetStatus() != want {
			t.Fatalf("got %v, %v", got, err)
		}
		state.Shutdown()
	}
}
