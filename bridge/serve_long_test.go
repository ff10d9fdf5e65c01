package bridge_test

import (
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// TestServe_longMessages: long messages of native clients come, though only few at a
// time, and what is over the budget is refused and given back.
func TestServe_longMessages(t *testing.T) {
	srv, _ := newServer(t, bridge.Config{RPC: true, MaxMessageBytes: 1 << 20, MaxBufferedBytes: 8 << 20})
	plain, _ := serve(t, srv, srv)
	cc, err := grpc.NewClient(plain.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	for range 3 {
		var calls sync.WaitGroup
		for i := range 12 {
			calls.Go(func() {
				reply := new(echopb.Reply)
				err := cc.Invoke(t.Context(), unaryPath, testsvc.Request(uint64(i+1), 900_000), reply)
				if s := status.Convert(err); err != nil && (s.Code() != codes.ResourceExhausted || !strings.Contains(s.Message(), "limit of 8388608 bytes")) {
					t.Errorf("RPC %d: %v", i, err)
				}
			})
		}
		calls.Wait()
	}
}
