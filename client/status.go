package client

import (
	"context"
	"io"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/internal/wire"
)

const detailsKey = "grpc-status-details-bin"

// endError is the error of an ended RPC, io.EOF for OK.
func endError(end *wire.End) error {
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

// endTrailer is an ended RPC's trailer as grpc-go shows it: details among it.
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

// contextError is the status of an RPC whose context ended.
func contextError(ctx context.Context) error {
	return status.FromContextError(ctx.Err()).Err()
}

// errClosing is the status of RPCs that a closed Channel ends or refuses.
func errClosing() error {
	return status.Error(codes.Canceled, "grpc: the client connection is closing")
}
