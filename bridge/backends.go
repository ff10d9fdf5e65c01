package bridge

import (
	"fmt"

	"github.com/pollbridge/pollbridge/internal/backend"
)

// pool is the Backend in the form that package backend takes.
func (b Backend) pool(c Config) backend.Config {
	return backend.Config{
		Name:          b.Name,
		Target:        b.Target,
		ClientConn:    b.ClientConn,
		Server:        b.GRPCServer,
		Profile:       backend.Profile(b.Profile),
		TLS:           b.TLS,
		ServiceConfig: b.ServiceConfig,
		ReadyTimeout:  b.ReadyTimeout,
		MaxStreams:    b.MaxConcurrentStreams,
		PerSession:    b.ChannelPerSession,
		MaxMessage:    c.MaxMessageBytes,
		UserAgent:     "pollbridge/" + Version(),
		DialOptions:   b.DialOptions,
		Logger:        c.Logger,
	}
}

func fieldOf(backend int) string { return fmt.Sprintf("Backends[%d]", backend) }
