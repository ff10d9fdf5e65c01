package bridge

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
)

// metrics are the Server's, in a registry of their own. Counters of RPCs are
// kept here; the rest is read from the engine and the pools when asked for.
type metrics struct {
	registry *prometheus.Registry
	started  prometheus.Counter
	ended    *prometheus.CounterVec
	duration prometheus.Histogram
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		started: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pollbridge_rpcs_started_total", Help: "RPCs that clients began.",
		}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pollbridge_rpcs_completed_total", Help: "RPCs that ended, by gRPC status code.",
		}, []string{"code"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pollbridge_rpc_duration_seconds", Help: "Time from an RPC's arrival to its end.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30, 100, 300, 1000},
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pollbridge_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": Version(), "go": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.started, m.ended, m.duration, build, collector{s},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) completed(status uint32, took time.Duration) {
	m.ended.WithLabelValues(codeName(status)).Inc()
	m.duration.Observe(took.Seconds())
}

func codeName(status uint32) string {
	if status > uint32(codes.Unauthenticated) {
		return "other"
	}
	return codes.Code(status).String()
}

var (
	sessionsDesc = prometheus.NewDesc("pollbridge_sessions", "Sessions that are open.", nil, nil)
	linksDesc    = prometheus.NewDesc("pollbridge_links", "Exchanges and WebSockets that are under way.", []string{"transport"}, nil)
	streamsDesc  = prometheus.NewDesc("pollbridge_streams", "RPCs that are under way.", nil, nil)
	bufferedDesc = prometheus.NewDesc("pollbridge_buffered_bytes", "Bytes of messages that sessions hold.", nil, nil)
	openedDesc   = prometheus.NewDesc("pollbridge_sessions_opened_total", "Sessions that were opened.", nil, nil)
	closedDesc   = prometheus.NewDesc("pollbridge_sessions_closed_total", "Sessions that ended, by reason.", []string{"reason"}, nil)
	resumesDesc  = prometheus.NewDesc("pollbridge_resumes_total", "Links after the first of their session.", nil, nil)
	refusalsDesc = prometheus.NewDesc("pollbridge_refusals_total", "Batches that were refused, by reason.", []string{"reason"}, nil)
	resentDesc   = prometheus.NewDesc("pollbridge_frames_resent_total", "Frames that were sent again.", nil, nil)
	channelsDesc = prometheus.NewDesc("pollbridge_backend_channels", "Channels to a backend, by state.", []string{"backend", "state"}, nil)
	pingsDesc    = prometheus.NewDesc("pollbridge_backend_too_many_pings_total", "Connections that a backend closed for too many keepalive pings, so far as an RPC was on them.", []string{"backend"}, nil)
)

// collector reads the engine's and the pools' figures.
type collector struct{ s *Server }

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		sessionsDesc, linksDesc, streamsDesc, bufferedDesc, openedDesc,
		closedDesc, resumesDesc, refusalsDesc, resentDesc, channelsDesc, pingsDesc,
	} {
		out <- d
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	st := c.s.registry.Stats()
	gauge(sessionsDesc, float64(st.Sessions))
	for kind, n := range st.Links {
		gauge(linksDesc, float64(n), kind.String())
	}
	gauge(streamsDesc, float64(st.Streams))
	gauge(bufferedDesc, float64(st.BufferedBytes))
	counter(openedDesc, st.SessionsOpened)
	for reason, n := range st.SessionsClosed {
		counter(closedDesc, n, reason)
	}
	counter(resumesDesc, st.Resumes)
	for reason, n := range st.Refusals {
		counter(refusalsDesc, n, reason)
	}
	counter(resentDesc, st.FramesResent)
	for _, p := range c.s.pools {
		states := p.States()
		for state := connectivity.Idle; state <= connectivity.TransientFailure; state++ {
			gauge(channelsDesc, float64(states[state]), p.Name(), state.String())
		}
		counter(pingsDesc, p.Complaints(), p.Name())
	}
}
