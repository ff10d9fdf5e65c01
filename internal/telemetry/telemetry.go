// Package telemetry sends traces and metrics to an OpenTelemetry collector, as
// the standard environment variables say: those of the OpenTelemetry
// specification, of which the exporters and the SDK read what is not named here.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	prombridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says what is sent. All fields are required.
type Config struct {
	// Getenv is os.Getenv.
	Getenv func(string) string
	// Metrics are sent where the environment asks for it.
	Metrics prometheus.Gatherer
	// Version is the program's.
	Version string
	Logger  *slog.Logger
}

// Telemetry is what sends.
type Telemetry struct {
	// TracerProvider is nil where no traces are asked for.
	TracerProvider trace.TracerProvider

	stop []func(context.Context) error
}

// A signal is what OpenTelemetry calls so.
type signal struct {
	name    string // in variables
	general bool   // an endpoint for all signals asks for it
}

var (
	traces  = signal{"TRACES", true}
	metrics = signal{"METRICS", false} // Prometheus asks for them already
)

// Start reads the environment. Traces are sent if OTEL_TRACES_EXPORTER is "otlp",
// or if it is not set and an endpoint is; metrics if OTEL_METRICS_EXPORTER is
// "otlp", or if it is not set and an endpoint for metrics is. Nothing is waited
// for. The error names the variable that is wrong.
func Start(ctx context.Context, cfg Config) (*Telemetry, error) {
	t := &Telemetry{}
	traced, err := traces.wanted(cfg.Getenv)
	if err != nil {
		return nil, err
	}
	measured, err := metrics.wanted(cfg.Getenv)
	if err != nil || !traced && !measured {
		return t, err
	}
	from, err := describe(ctx, cfg)
	if err != nil {
		return nil, err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { cfg.Logger.Warn("telemetry not sent", "err", err) }))
	if traced {
		err = t.trace(ctx, cfg, from)
	}
	if measured && err == nil {
		err = t.measure(ctx, cfg, from)
	}
	if err != nil {
		return nil, errors.Join(err, t.Close(ctx))
	}
	return t, nil
}

// wanted reports whether a signal is to be sent.
func (s signal) wanted(getenv func(string) string) (bool, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	name := "OTEL_" + s.name + "_EXPORTER"
	switch exporter := getenv(name); exporter {
	case "otlp":
		return true, nil
	case "none", "prometheus":
		return false, nil
	case "":
		return getenv("OTEL_EXPORTER_OTLP_"+s.name+"_ENDPOINT") != "" || s.general && getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "", nil
	default:
		return false, fmt.Errorf("%s: %q is wrong, want otlp or none", name, exporter)
	}
}

// overGRPC reports whether a signal goes by gRPC; else it goes by HTTP, which is
// the default.
func (s signal) overGRPC(getenv func(string) string) (bool, error) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_" + s.name + "_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch protocol := getenv(name); protocol {
		case "":
		case "grpc":
			return true, nil
		case "http/protobuf":
			return false, nil
		default:
			return false, fmt.Errorf("%s: %q is wrong, want grpc or http/protobuf", name, protocol)
		}
	}
	return false, nil
}

// describe says who sends. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
func describe(ctx context.Context, cfg Config) (*resource.Resource, error) {
	from, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "pollbridge"), attribute.String("service.version", cfg.Version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return from, nil
}

func (t *Telemetry) trace(ctx context.Context, cfg Config, from *resource.Resource) error {
	overGRPC, err := traces.overGRPC(cfg.Getenv)
	if err != nil {
		return err
	}
	var exporter sdktrace.SpanExporter
	if overGRPC {
		exporter, err = otlptracegrpc.New(ctx)
	} else {
		exporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(from))
	t.TracerProvider = provider
	t.stop = append(t.stop, provider.Shutdown)
	return nil
}

func (t *Telemetry) measure(ctx context.Context, cfg Config, from *resource.Resource) error {
	overGRPC, err := metrics.overGRPC(cfg.Getenv)
	if err != nil {
		return err
	}
	var exporter metric.Exporter
	if overGRPC {
		exporter, err = otlpmetricgrpc.New(ctx)
	} else {
		exporter, err = otlpmetrichttp.New(ctx)
	}
	if err != nil {
		return fmt.Errorf("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: %w", err)
	}
	reader := metric.NewPeriodicReader(exporter, metric.WithProducer(prombridge.NewMetricProducer(prombridge.WithGatherer(cfg.Metrics))))
	provider := metric.NewMeterProvider(metric.WithReader(reader), metric.WithResource(from))
	t.stop = append(t.stop, provider.Shutdown)
	return nil
}

// Close sends what is left, until ctx ends.
func (t *Telemetry) Close(ctx context.Context) error {
	var errs []error
	for _, stop := range t.stop {
		errs = append(errs, stop(ctx))
	}
	t.stop = nil
	return errors.Join(errs...)
}
