package cluster

import (
	"context"
	"log/slog"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// Local is a bridge's own sessions. A registry.Registry is one.
type Local interface {
	transport.Acceptor
	// Instance names the bridge in incarnations (O2).
	Instance() uint32
	// Has reports whether there is a session of that ID, as in batches.
	Has(session []byte) bool
	// Unknown returns a link that refuses a batch whose session is nowhere (W6).
	Unknown(wire.Head) transport.Link
}

// Config configures a Cluster. Every field must be set but for those whose comment
// says otherwise.
type Config struct {
	// Name is what the bridges of one cluster have in common: ValidName.
	Name string
	// Node is what operators call this bridge, in the logs of the others.
	Node string
	// Release is sent to the others.
	Release string
	Local   Local
	Fabric  Fabric
	// MaxBatch is the longest batch, in bytes, envelope included.
	MaxBatch int
	// Authenticate tells who the client of a link is that landed here, when the
	// session's owner asks for it. Nil: it never does.
	Authenticate func(ctx context.Context, hello transport.Hello, token string) (Identity, error)
	// Sessions, if not nil, returns how many sessions the bridge has, for the others.
	Sessions func() int
	// Measured, if not nil, is told how long each ping of another bridge took.
	Measured func(time.Duration)
	// Logger gets a record for each bridge that comes or goes, or cannot be reached.
	Logger *slog.Logger
}

// maxName is the longest name of a cluster.
const maxName = 64

// ValidName reports whether a cluster can have that name: 1 to 64 letters, digits,
// "-" and "_".
func ValidName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
