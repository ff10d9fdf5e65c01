package ws

import (
	"encoding/binary"
	"errors"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/transport"
)

// Close codes of the bridge. They are hints: a code alone never ends a session
// (rule L6). After a code below 3500 the client resumes; from 3500 on it goes by
// the last batch. Codes below 3000 are WebSocket's own and say nothing about a
// session.
const (
	// CloseDone: the link has nothing more to send.
	CloseDone = websocket.StatusNormalClosure
	// CloseGoingAway: the handler was closed. The session lives on.
	CloseGoingAway = websocket.StatusGoingAway
	// CloseUnavailable: the session lives in another process, which cannot be
	// reached now. The session lives on.
	CloseUnavailable = websocket.StatusTryAgainLater
	// CloseText: a text message arrived. The session lives on.
	CloseText websocket.StatusCode = 3400
	// CloseMute: no first batch, or no pong, arrived in time.
	CloseMute websocket.StatusCode = 3408
	// CloseReplaced: a newer WebSocket took this one's place.
	CloseReplaced websocket.StatusCode = 3409
	// CloseTooLarge: a message was over the batch limit, which the reason names.
	CloseTooLarge websocket.StatusCode = 3413
	// CloseSession: the session is over; the last batch says why.
	CloseSession websocket.StatusCode = 3500
	// CloseDraining: the bridge takes no new sessions any more. A client without a
	// Welcome looks for another bridge, another opens new RPCs elsewhere.
	CloseDraining websocket.StatusCode = 3503
)

// closeCode returns the code for an error of Link.Next that wraps ErrLinkDone, and
// the reason to go with it.
func closeCode(err error) (websocket.StatusCode, string) {
	switch {
	case errors.Is(err, transport.ErrDraining):
		return CloseDraining, "the bridge is draining"
	case errors.Is(err, transport.ErrReplaced):
		return CloseReplaced, ""
	case errors.Is(err, transport.ErrMute):
		return CloseMute, ""
	case errors.Is(err, transport.ErrSessionOver):
		return CloseSession, ""
	case errors.Is(err, transport.ErrUnavailable):
		return CloseUnavailable, ""
	}
	return CloseDone, ""
}

// maxReason is the longest reason of a close frame, in bytes (RFC 6455 section 5.5).
const maxReason = 125 - 2

// closeFrame returns a close frame. A longer reason is cut.
func closeFrame(code websocket.StatusCode, reason string) []byte {
	const final = 0x88
	reason = reason[:min(len(reason), maxReason)]
	frame := binary.BigEndian.AppendUint16([]byte{final, byte(2 + len(reason))}, uint16(code))
	return append(frame, reason...)
}
