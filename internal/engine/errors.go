package engine

import (
	"fmt"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// Reasons for which a session or, by the engine's doing, an RPC ends.
const (
	ReasonExpired         = "expired"
	ReasonUnknown         = "unknown_session"
	ReasonRestarted       = "bridge_restarted"
	ReasonDrained         = "drained"
	ReasonDisconnected    = "disconnected" // by an operator
	ReasonUnreachable     = "unreachable"
	ReasonClosed          = "closed"
	ReasonViolation       = "protocol_violation"
	ReasonOverloaded      = "overloaded"
	ReasonUnauthenticated = "unauthenticated"
	ReasonVersion         = "version"
	ReasonCancelled       = "cancelled"
	ReasonDeadline        = "deadline"
	ReasonLimit           = "limit"
	ReasonEnded           = "ended"
)

// Error says why a session, or an RPC by the engine's doing, ended.
type Error struct {
	// Reason is for programs: one of the Reason constants.
	Reason string
	// Message is for people.
	Message string
	// NotStarted is true of an RPC of which no frame was ever sent: it did not run
	// and may be tried again (E2).
	NotStarted bool
}

func (e *Error) Error() string { return "session: " + e.Reason + ": " + e.Message }

// Violation returns the Error of a session whose peer violated the protocol.
func Violation(format string, args ...any) *Error {
	return &Error{Reason: ReasonViolation, Message: fmt.Sprintf(format, args...)}
}

// CloseCode returns the close code that tells the peer of a session's end.
func CloseCode(e *Error) wire.CloseCode {
	switch e.Reason {
	case ReasonDrained, ReasonDisconnected: // its client goes on with another session
		return wire.CodeDrained
	case ReasonViolation:
		return wire.CodeProtocolViolation
	case ReasonOverloaded:
		return wire.CodeOverloaded
	case ReasonUnauthenticated:
		return wire.CodeUnauthenticated
	case ReasonClosed:
		return wire.CodeDone
	}
	return wire.CodeUnknown
}

// ErrorOf is the inverse of CloseCode.
func ErrorOf(c *wire.Close) *Error {
	var reason string
	switch c.Code {
	case wire.CodeDrained:
		reason = ReasonDrained
	case wire.CodeProtocolViolation:
		reason = ReasonViolation
	case wire.CodeOverloaded:
		reason = ReasonOverloaded
	case wire.CodeUnauthenticated:
		reason = ReasonUnauthenticated
	case wire.CodeDone:
		reason = ReasonClosed
	case wire.CodeVersion:
		reason = ReasonVersion
	default:
		reason = ReasonUnknown
	}
	return &Error{Reason: reason, Message: c.Message}
}

// gRPC status codes that the engine itself gives to RPCs.
const (
	StatusCancelled         = 1
	StatusDeadlineExceeded  = 4
	StatusResourceExhausted = 8
	StatusUnimplemented     = 12
	StatusInternal          = 13
	StatusUnavailable       = 14
	StatusUnauthenticated   = 16
)

// BridgeEnd returns the END of an RPC that ends by the engine's doing.
func BridgeEnd(status uint32, reason, format string, args ...any) wire.End {
	return wire.End{Status: status, Message: fmt.Sprintf(format, args...), Origin: wire.OriginBridge, Reason: reason}
}
