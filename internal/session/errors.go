package session

import (
	"errors"
	"fmt"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// What a Carrier's error may wrap to say why an exchange failed.
var (
	// ErrTooLong tells that the network said that the request is too long.
	ErrTooLong = errors.New("the request is too long")
	// ErrBroken tells that the request was begun, and that it broke with no
	// answer: it may be too long.
	ErrBroken = errors.New("broken without an answer")
)

// Reasons for which a session or, by the engine's doing, an RPC ends.
const (
	ReasonExpired         = "expired"
	ReasonUnknown         = "unknown_session"
	ReasonRestarted       = "bridge_restarted"
	ReasonDrained         = "drained"
	ReasonUnreachable     = "unreachable"
	ReasonClosed          = "closed"
	ReasonBreach          = "breach"
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
	// NotStarted tells of an RPC that no frame of it was ever sent: it did not
	// run and may be tried again (E2).
	NotStarted bool
}

func (e *Error) Error() string { return "session: " + e.Reason + ": " + e.Message }

func breach(format string, args ...any) *Error {
	return &Error{Reason: ReasonBreach, Message: fmt.Sprintf(format, args...)}
}

// codeOf gives the close code that tells the peer of a session's end.
func codeOf(e *Error) wire.CloseCode {
	switch e.Reason {
	case ReasonDrained:
		return wire.CodeDrained
	case ReasonBreach:
		return wire.CodeBreach
	case ReasonOverloaded:
		return wire.CodeOverloaded
	case ReasonUnauthenticated:
		return wire.CodeUnauthenticated
	case ReasonClosed:
		return wire.CodeDone
	}
	return wire.CodeUnknown
}

// errorOf is codeOf's inverse, for the client.
func errorOf(c *wire.Close) *Error {
	var reason string
	switch c.Code {
	case wire.CodeDrained:
		reason = ReasonDrained
	case wire.CodeBreach:
		reason = ReasonBreach
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
	statusCancelled         = 1
	statusDeadlineExceeded  = 4
	statusResourceExhausted = 8
	statusUnimplemented     = 12
	statusInternal          = 13
	statusUnavailable       = 14
	statusUnauthenticated   = 16
)

func bridgeEnd(status uint32, reason, format string, args ...any) wire.End {
	return wire.End{Status: status, Message: fmt.Sprintf(format, args...), Origin: wire.OriginBridge, Reason: reason}
}
