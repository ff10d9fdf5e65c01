package client_test

import (
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// E2: a program can tell why an RPC ended with its session, and whether it may
// have run.
func TestStatus_reason(t *testing.T) {
	end := wire.End{Status: 14, Message: "gone", Origin: wire.OriginBridge, Reason: engine.ReasonRestarted}
	for sent, started := range map[bool]string{true: "maybe", false: "no"} {
		st := status.Convert(client.EndError(&end, sent))
		if st.Code() != codes.Unavailable || st.Message() != "gone" || len(st.Details()) != 1 {
			t.Fatalf("%v %v", st, st.Details())
		}
		info, ok := st.Details()[0].(*errdetails.ErrorInfo)
		if !ok || info.Reason != "BRIDGE_RESTARTED" || info.Domain != client.Domain || info.Metadata["started"] != started {
			t.Errorf("sent %v: %v", sent, info)
		}
	}
	backend := status.Convert(client.EndError(&wire.End{Status: 14, Message: "gone"}, true))
	if len(backend.Details()) != 0 {
		t.Errorf("a backend's own status: %v", backend.Details())
	}
}
