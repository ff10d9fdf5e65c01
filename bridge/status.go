package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// reasonMethod is the reason of an RPC whose method is not allowed or has no
// backend.
const reasonMethod = "method"

// reasonBackend is the reason of an RPC that reached no backend.
const reasonBackend = "backend"

// bridgeEnd returns an end that originates at the bridge.
func bridgeEnd(code codes.Code, reason, format string, args ...any) wire.End {
	return wire.End{Status: uint32(code), Message: fmt.Sprintf(format, args...), Origin: wire.OriginBridge, Reason: reason}
}

func tooMuchMetadata(what string, size, limit int) error {
	return &engine.Error{Reason: engine.ReasonLimit, Message: fmt.Sprintf("%s of %d bytes are over the limit of %d", what, size, limit)}
}

// callEnd returns the end of an RPC: the backend's status, unless err is only
// the consequence of the stream's own end.
func callEnd(ctx context.Context, err error, trailers []wire.Metadatum) wire.End {
	if end, over := streamEnd(ctx, err); over {
		return end
	}
	end := wire.End{Trailers: trailers}
	if err == nil || errors.Is(err, io.EOF) {
		return end
	}
	if _, notTaken := errors.AsType[*backend.NotTakenError](err); notTaken {
		end.Origin, end.Reason = wire.OriginBridge, reasonBackend
	}
	st := status.Convert(err)
	end.Status = uint32(st.Code())
	end.Message = strings.ToValidUTF8(st.Message(), "\ufffd")
	if p := st.Proto(); len(p.GetDetails()) > 0 {
		// It was unmarshalled from the wire, so marshalling cannot fail.
		end.Details, _ = proto.Marshal(p)
	}
	return end
}

// streamEnd reports whether err is the consequence of the stream's end (a cancel
// by the client, the deadline, the session's loss), and returns that end.
func streamEnd(ctx context.Context, err error) (wire.End, bool) {
	why, ok := errors.AsType[*engine.Error](err)
	if !ok {
		code := status.Code(err)
		if ctx.Err() == nil || code != codes.Canceled && code != codes.DeadlineExceeded {
			return wire.End{}, false
		}
		if why, ok = errors.AsType[*engine.Error](context.Cause(ctx)); !ok {
			return wire.End{}, false
		}
	}
	switch why.Reason {
	case engine.ReasonDeadline:
		return bridgeEnd(codes.DeadlineExceeded, why.Reason, "%v", context.DeadlineExceeded), true
	case engine.ReasonCancelled:
		return bridgeEnd(codes.Canceled, why.Reason, "%v", context.Canceled), true
	case engine.ReasonOverloaded:
		if ctx.Err() == nil { // else it is the session that ended
			return bridgeEnd(codes.ResourceExhausted, why.Reason, "%s", why.Message), true
		}
	case engine.ReasonLimit:
		return bridgeEnd(codes.ResourceExhausted, why.Reason, "%s", why.Message), true
	}
	return bridgeEnd(codes.Unavailable, why.Reason, "%s", why.Message), true
}
