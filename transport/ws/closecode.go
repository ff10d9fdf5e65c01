package ws

import (
	"errors"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/transport"
)

// Close codes of the bridge. They are hints: a code alone never ends a session
// (rule L6). After one below 3500 the client resumes; from 3500 on it reads the
// last batch. Codes below 3000 are WebSocket's own and say nothing of a session.
const (
	// CloseDone says that the link has nothing more to say.
	CloseDone = websocket.StatusNormalClosure
	// CloseGoingAway says that the handler was closed. The session lives.
	CloseGoingAway = websocket.StatusGoingAway
	// CloseText says that a text message came. The session lives.
	CloseText websocket.StatusCode = 3400
	// CloseMute says that no first batch, or no pong, came in time.
	CloseMute websocket.StatusCode = 3408
	// CloseReplaced says that a newer WebSocket took this one's place.
	CloseReplaced websocket.StatusCode = 3409
	// CloseTooLarge says that a message was over the batch limit, and names it.
	CloseTooLarge websocket.StatusCode = 3413
	// CloseSession says that the session is over; the last batch says why.
	CloseSession websocket.StatusCode = 3500
)

// closeCode is the code for an error of Link.Next that wraps ErrLinkDone.
func closeCode(err error) websocket.StatusCode {
	switch {
	case errors.Is(err, transport.ErrReplaced):
		return CloseReplaced
	case errors.Is(err, transport.ErrMute):
		return CloseMute
	case errors.Is(err, transport.ErrSessionOver):
		return CloseSession
	}
	return CloseDone
}
