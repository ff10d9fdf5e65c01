package client

import (
	"context"
	"io"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/internal/wire"
)

const detailsKey = "grpc-status-details-bin"

// Domain is the domain of the google.rpc.ErrorInfo detail of an UNAVAILABLE that
// did not come from the backend. Its reason is the cause, in capitals: EXPIRED,
// UNKNOWN_SESSION, BRIDGE_RESTARTED, DRAINED, UNREACHABLE, OVERLOADED,
// PROTOCOL_VIOLATION, or BACKEND if none could be reached (rule E2). Its metadata
// "started" is "no" if no frame of the RPC was ever sent, so that it cannot have
// run, else "maybe".
const Domain = "pollbridge"

// madeHere returns the status of an RPC that the backend did not end. sent is
// whether any frame of the RPC was sent.
func madeHere(code codes.Code, reason, message string, sent bool) error {
	s := status.New(code, message)
	if reason == "" {
		return s.Err()
	}
	started := "no"
	if sent {
		started = "maybe"
	}
	info := &errdetails.ErrorInfo{
		Reason: strings.ToUpper(reason), Domain: Domain, Metadata: map[string]string{"started": started},
	}
	if detailed, err := s.WithDetails(info); err == nil {
		s = detailed
	}
	return s.Err()
}

// endError returns the error of an ended RPC, io.EOF for OK. sent is as for
// madeHere.
func endError(end *wire.End, sent bool) error {
	if end.Origin == wire.OriginBridge && end.Status == uint32(codes.Unavailable) {
		return madeHere(codes.Code(end.Status), end.Reason, end.Message, sent)
	}
	if len(end.Details) == 0 {
		return statusError(&spb.Status{Code: int32(end.Status), Message: end.Message})
	}
	var full spb.Status
	if proto.Unmarshal(end.Details, &full) != nil {
		return statusError(&spb.Status{Code: int32(end.Status), Message: end.Message})
	}
	if full.Code != int32(end.Status) {
		return status.Errorf(codes.Internal, "grpc-status-details-bin mismatch: grpc-status=%v, grpc-message=%q, grpc-status-details-bin=%+v",
			codes.Code(end.Status), end.Message, &full)
	}
	return statusError(&full)
}

func statusError(s *spb.Status) error {
	if err := status.ErrorProto(s); err != nil {
		return err
	}
	return io.EOF
}

// endTrailer returns an ended RPC's trailer, with the status details in it as in
// grpc-go.
func endTrailer(end *wire.End) metadata.MD {
	if len(end.Trailers) == 0 && len(end.Details) == 0 {
		return nil
	}
	md := incoming(end.Trailers)
	if len(end.Details) > 0 && len(md[detailsKey]) == 0 {
		md[detailsKey] = []string{string(end.Details)}
	}
	return md
}

// contextError returns the status of an RPC whose context ended.
func contextError(ctx context.Context) error {
	return status.FromContextError(ctx.Err()).Err()
}

// errClosing returns the status of RPCs that a closed Channel ends or refuses.
func errClosing() error {
	return status.Error(codes.Canceled, "grpc: the client connection is closing")
}
