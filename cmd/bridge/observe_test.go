package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// collector takes OTLP over HTTP.
type collector struct {
	t  *testing.T
	mu sync.Mutex
	// Guarded by mu.
	services, spans, metrics []string
}

func newCollector(t *testing.T) (*collector, string) {
	t.Helper()
	c := &collector{t: t}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return c, server.URL
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-protobuf")
	switch r.URL.Path {
	case "/v1/traces":
		var request collectortrace.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &request); err != nil {
			c.t.Error(err)
		}
		for _, from := range request.ResourceSpans {
			for _, a := range from.Resource.Attributes {
				if a.Key == "service.name" {
					c.services = append(c.services, a.Value.GetStringValue())
				}
			}
			for _, scope := range from.ScopeSpans {
				for _, span := range scope.Spans {
					c.spans = append(c.spans, span.Name+" in "+string(appendHex(nil, span.TraceId)))
				}
			}
		}
	case "/v1/metrics":
		var request collectormetrics.ExportMetricsServiceRequest
		if err := proto.Unmarshal(body, &request); err != nil {
			c.t.Error(err)
		}
		for _, from := range request.ResourceMetrics {
			for _, scope := range from.ScopeMetrics {
				for _, m := range scope.Metrics {
					c.metrics = append(c.metrics, m.Name)
				}
			}
		}
	default:
		c.t.Errorf("asked for %s", r.URL)
	}
}

func appendHex(dst, b []byte) []byte {
	for _, c := range b {
		dst = append(dst, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
	}
	return dst
}

// TestTelemetry holds that traces and metrics go where OpenTelemetry's variables
// say, the last of them before the program ends, and nowhere without them.
func TestTelemetry(t *testing.T) {
	const trace = "0af7651916cd43dd8448eb211c80319c"
	call := func(t *testing.T) {
		t.Helper()
		p := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", echoServer(t))
		channel := dial(t, p.url, client.Config{})
		ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+trace+"-b7ad6b7169203331-01")
		if seen, err := reflected(ctx, channel, "traceparent"); err != nil || len(seen["traceparent"]) != 1 || !strings.Contains(seen["traceparent"][0], trace) {
			t.Errorf("backend saw %q, %v", seen, err)
		}
		channel.Close()
		p.signal(syscall.SIGTERM)
		if _, code := p.wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	t.Run("on", func(t *testing.T) {
		c, url := newCollector(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
		t.Setenv("OTEL_METRICS_EXPORTER", "otlp")
		t.Setenv("OTEL_SERVICE_NAME", "edge")
		call(t)
		slices.Sort(c.spans)
		n := slices.IndexFunc(c.spans, func(s string) bool { return strings.HasPrefix(s, "session opened in ") })
		if n < 0 || !slices.Equal(slices.Delete(slices.Clone(c.spans), n, n+1), []string{"pollbridge.test.v1.Echo/Unary in " + trace, "pollbridge.test.v1.Echo/Unary in " + trace}) || !slices.Contains(c.services, "edge") {
			t.Errorf("spans %q of %q", c.spans, c.services)
		}
		for _, want := range []string{"pollbridge_sessions", "pollbridge_rpcs_completed_total", "pollbridge_rpc_duration_seconds"} {
			if !slices.Contains(c.metrics, want) && !slices.Contains(c.metrics, strings.TrimSuffix(want, "_total")) {
				t.Errorf("metrics %q lack %s", c.metrics, want)
			}
		}
	})
	t.Run("off", func(t *testing.T) {
		c, url := newCollector(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
		t.Setenv("OTEL_SDK_DISABLED", "true")
		call(t)
		if len(c.spans)+len(c.metrics) > 0 {
			t.Errorf("spans %q, metrics %q", c.spans, c.metrics)
		}
	})
	for name, want := range map[string]string{
		"OTEL_TRACES_EXPORTER":  `OTEL_TRACES_EXPORTER: "zipkin" is wrong, want otlp or none`,
		"OTEL_METRICS_EXPORTER": `OTEL_METRICS_EXPORTER: "zipkin" is wrong, want otlp or none`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "zipkin")
			if _, stderr, code := runOnce(t, "", "serve", "--backend", nowhere); code != exitUsage || !strings.HasPrefix(stderr, "bridge serve: "+want+"\n") {
				t.Errorf("exit code %d, standard error %q", code, stderr)
			}
		})
	}
}

// TestAccessLog holds where the access log goes, in which form and what of it.
func TestAccessLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	p := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", echoServer(t), "--access-log", name, "--access-log-code", "OK", "--access-log-code", "NOT_FOUND")
	channel := dial(t, p.url, client.Config{})
	if _, err := reflected(t.Context(), channel); err != nil {
		t.Error(err)
	}
	if err := channel.Invoke(t.Context(), "/pollbridge.test.v1.Echo/Nothing", &echopb.Request{}, &echopb.Reply{}); err == nil {
		t.Error("no error")
	}
	channel.Close()
	p.signal(syscall.SIGTERM)
	if rest, code := p.wait(); rest != "" || code != 0 {
		t.Errorf("exit code %d, standard output %q", code, rest)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ Time, Msg, Method, Code, Session, Principal, Transport string }
	if err := json.Unmarshal(text, &line); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if line.Method != "/pollbridge.test.v1.Echo/Unary" || line.Code != "OK" || line.Session == "" || line.Principal != "127.0.0.1" || line.Transport == "" || line.Time == "" {
		t.Errorf("line %s", text)
	}
	dir := t.TempDir()
	if _, stderr, code := runOnce(t, "", "serve", "--backend", nowhere, "--access-log", dir); code != exitUsage || !strings.HasPrefix(stderr, "bridge serve: --access-log: open "+dir+": is a directory\n") {
		t.Errorf("a directory: exit code %d, standard error %q", code, stderr)
	}

	// The ID of a failure is in the status, in the log and in the access log.
	p = start(t, "serve", "--listen", "127.0.0.1:0", "--backend", nowhere, "--backend-ready-timeout", "50ms", "--access-log", "stdout")
	_, err = reflected(t.Context(), dial(t, p.url, client.Config{}))
	id := regexp.MustCompile(`\(id ([0-9a-f]{8})\)`).FindStringSubmatch(status.Convert(err).Message())
	p.signal(syscall.SIGTERM)
	if rest, _ := p.wait(); id == nil || !strings.Contains(rest, `"id":"`+id[1]+`"`) || !strings.Contains(p.err.String(), " id="+id[1]+" ") {
		t.Errorf("status %v, access log %q, log %q", err, rest, p.err)
	}

	p = start(t, "serve", "--listen", "127.0.0.1:0", "--backend", echoServer(t), "--access-log", "stdout", "--access-log-format", "text")
	channel = dial(t, p.url, client.Config{})
	if _, err := reflected(t.Context(), channel); err != nil {
		t.Error(err)
	}
	channel.Close()
	p.signal(syscall.SIGTERM)
	if rest, code := p.wait(); !strings.Contains(rest, " msg=rpc method=/pollbridge.test.v1.Echo/Unary code=OK duration=") || code != 0 {
		t.Errorf("exit code %d, standard output %q", code, rest)
	}
}
