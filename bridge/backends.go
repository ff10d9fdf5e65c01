package bridge

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/internal/backend"
)

// pool returns the Backend as a backend.Config.
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
		MaxReceiving:  c.MaxBufferedBytes / 4 / int64(len(c.Backends)),
		UserAgent:     "pollbridge/" + Version(),
		DialOptions:   append(c.tracing(), b.DialOptions...),
		Logger:        c.Logger,
	}
}

// tracing returns the options that make a channel create a span for each RPC.
func (c Config) tracing() []grpc.DialOption {
	if c.TracerProvider == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithStatsHandler(otelgrpc.NewClientHandler(
		otelgrpc.WithTracerProvider(c.TracerProvider), otelgrpc.WithPropagators(traceContext), otelgrpc.WithMeterProvider(noop.NewMeterProvider()),
	))}
}

// problemOf is the ConfigError of a backend that could not be made.
func problemOf(i int, err error) error {
	field := fmt.Sprintf("Backends[%d]", i)
	if at, ok := errors.AsType[*backend.FieldError](err); ok {
		return &ConfigError{Field: field + "." + at.Field, Problem: at.Err.Error()}
	}
	return &ConfigError{Field: field, Problem: err.Error()}
}
