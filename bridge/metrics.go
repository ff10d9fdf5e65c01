package bridge

import (
	"cmp"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/cluster"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/rpc"
	"github.com/pollbridge/pollbridge/transport"
)

// metrics are the Server's metrics. RPCs and authentications are counted here;
// everything else is read from the engine and the pools at each scrape.
type metrics struct {
	registry      *prometheus.Registry
	protocols     map[string]*rpcMetrics
	authenticated *prometheus.CounterVec
	responses     *responses
	roundTrips    prometheus.Histogram // to other bridges of the cluster and back

	completed, failed atomic.Uint64 // RPCs
}

// rpcMetrics are those of the RPCs of one protocol.
type rpcMetrics struct {
	started  prometheus.Counter
	backends map[*backend.Pool]*endMetrics // nil: those that reached none
	all      *metrics

	received, sent atomic.Uint64 // bytes of messages, of clients without a session
}

// endMetrics are those of the RPCs of one protocol that went to one backend.
type endMetrics struct {
	ended    []prometheus.Counter // by status code; the last one for others
	duration prometheus.Observer
}

// sessionProtocol is the value of the label "protocol" for RPCs in sessions.
const sessionProtocol = "session"

// protocols returns the values of the label "protocol".
func protocols(cfg Config) []string {
	if !cfg.RPC {
		return []string{sessionProtocol}
	}
	return append([]string{sessionProtocol}, rpc.Protocols...)
}

// newMetrics returns an error if Config.Registry has metrics of the same names.
func newMetrics(s *Server) (*metrics, error) {
	m := &metrics{
		registry:  cmp.Or(s.cfg.Registry, prometheus.NewRegistry()),
		protocols: make(map[string]*rpcMetrics),
		responses: newResponses(),
		authenticated: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pollbridge_authentications_total", Help: "Clients and tokens authenticated, by result.",
		}, []string{"result"}),
		roundTrips: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pollbridge_cluster_round_trip_seconds", Help: "Time of a message to another bridge of the cluster and back.",
			Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3},
		}),
	}
	for _, result := range []string{authOK, authRefused, authUnavailable} {
		m.authenticated.WithLabelValues(result)
	}
	started := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pollbridge_rpcs_started_total", Help: "RPCs started by clients, by protocol.",
	}, []string{"protocol"})
	ended := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pollbridge_rpcs_completed_total", Help: "RPCs completed, by protocol, backend and gRPC status code.",
	}, []string{"protocol", "backend", "code"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "pollbridge_rpc_duration_seconds", Help: "Time from an RPC's arrival to its end, by protocol and backend.",
		Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30, 100, 300, 1000},
	}, []string{"protocol", "backend"})
	for _, protocol := range protocols(s.cfg) {
		p := &rpcMetrics{all: m, started: started.WithLabelValues(protocol), backends: make(map[*backend.Pool]*endMetrics)}
		for _, pool := range s.allPools() {
			name := poolName(pool)
			e := &endMetrics{duration: duration.WithLabelValues(protocol, name)}
			for code := range otherCode + 1 {
				e.ended = append(e.ended, ended.WithLabelValues(protocol, name, codeName(code))) // rate() misses the first event of a series that did not exist
			}
			p.backends[pool] = e
		}
		m.protocols[protocol] = p
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pollbridge_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": Version(), "go": runtime.Version()},
	})
	build.Set(1)
	all := []prometheus.Collector{started, ended, duration, m.authenticated, m.responses.all, build, collector{s}}
	if s.cfg.Cluster != nil {
		all = append(all, m.roundTrips)
	}
	for _, c := range all {
		if err := m.registry.Register(c); err != nil {
			return nil, &ConfigError{Field: "Registry", Problem: err.Error()}
		}
	}
	// A program that embeds a bridge often has these.
	_ = m.registry.Register(collectors.NewGoCollector())
	_ = m.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m, nil
}

// Results of Config.Authenticate.
const (
	authOK          = "ok"
	authRefused     = "refused"
	authUnavailable = "unavailable" // credentials cannot be checked now
)

// forwarding notes how long a message took to another bridge and back.
func (m *metrics) forwarding(took time.Duration) { m.roundTrips.Observe(took.Seconds()) }

// of returns the metrics of a protocol's RPCs.
func (m *metrics) of(protocol string) *rpcMetrics { return m.protocols[protocol] }

// allPools returns the backends that RPCs may go to, and nil for those that reach
// none.
func (s *Server) allPools() []*backend.Pool {
	all := append([]*backend.Pool{nil}, s.pools...)
	if s.check != nil {
		all = append(all, s.check.pool)
	}
	return all
}

// poolName is the value of the label "backend", empty for nil: Prometheus takes
// that for no label.
func poolName(p *backend.Pool) string {
	if p == nil {
		return ""
	}
	return p.Name()
}

// completed counts an RPC that went to a backend, nil if it reached none. Its trace,
// if any, becomes the exemplar of its duration.
func (m *rpcMetrics) completed(to *backend.Pool, status uint32, took time.Duration, traceID string) {
	e := m.backends[to]
	e.ended[min(status, otherCode)].Inc()
	m.all.completed.Add(1)
	if failed(codes.Code(status)) {
		m.all.failed.Add(1)
	}
	if exemplar, ok := e.duration.(prometheus.ExemplarObserver); ok && traceID != "" {
		exemplar.ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": traceID})
		return
	}
	e.duration.Observe(took.Seconds())
}

// otherCode is the first status code that gRPC does not define.
const otherCode = uint32(codes.Unauthenticated) + 1

func codeName(status uint32) string {
	if status >= otherCode {
		return "other"
	}
	return codes.Code(status).String()
}

// figures are what a scrape reads.
type figures struct {
	registry.Stats
	limits  Config
	pools   []*backend.Pool
	refused map[string]uint64 // by access.Policy
	calls   map[string]int    // RPCs without a session, by protocol; nil: none are served
	cluster *cluster.Stats    // nil: the bridge is on its own

	received, sent  map[string]uint64 // bytes, by transport
	ready, draining bool
}

func (s *Server) figures() figures {
	f := figures{Stats: s.registry.Stats(), limits: s.cfg, pools: s.pools, refused: s.access.Refused(), ready: s.ready(), draining: s.draining.Load()}
	f.received, f.sent = byTransport(f.ReceivedBytes), byTransport(f.SentBytes)
	if s.rpc != nil {
		f.calls = s.rpc.Active()
		for protocol := range f.calls {
			m := s.metrics.of(protocol)
			f.received[protocol], f.sent[protocol] = m.received.Load(), m.sent.Load()
		}
	}
	if s.cluster != nil {
		stats := s.cluster.Stats()
		f.cluster = &stats
	}
	return f
}

// metric is one metric that is read at each scrape. read calls set once for each
// combination of label values, those without an event so far included: rate()
// misses the first event of a series that did not exist.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(f figures, set func(value float64, labels ...string))
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

// table holds every metric that is read at each scrape: a new one is a field of
// registry.Stats, a row here, and a row in docs/OPERATIONS.md.
var table = []metric{
	{desc("pollbridge_sessions", "Open sessions."), gauge, func(f figures, set func(float64, ...string)) {
		set(float64(f.Sessions))
	}},
	{desc("pollbridge_links", "Exchanges and WebSockets in flight.", "transport"), gauge, func(f figures, set func(float64, ...string)) {
		for _, kind := range []transport.Kind{transport.Longpoll, transport.WS} {
			set(float64(f.Links[kind]), kind.String())
		}
	}},
	{desc("pollbridge_streams", "RPCs in flight, by protocol.", "protocol"), gauge, func(f figures, set func(float64, ...string)) {
		set(float64(f.Streams), sessionProtocol)
		for protocol, n := range f.calls {
			set(float64(n), protocol)
		}
	}},
	{desc("pollbridge_buffered_bytes", "Bytes held by sessions: messages, and a fixed cost of each RPC."), gauge, func(f figures, set func(float64, ...string)) {
		set(float64(f.BufferedBytes))
	}},
	{desc("pollbridge_sessions_limit", "Most open sessions."), gauge, func(f figures, set func(float64, ...string)) {
		set(float64(f.limits.MaxSessions))
	}},
	{desc("pollbridge_streams_limit", "Most RPCs in flight."), gauge, func(f figures, set func(float64, ...string)) {
		set(float64(f.limits.MaxRPCs))
	}},
	{desc("pollbridge_buffered_bytes_limit", "Most bytes held."), gauge, func(f figures, set func(float64, ...string)) {
		set(float64(f.limits.MaxBufferedBytes))
	}},
	{desc("pollbridge_received_bytes_total", "Bytes of batches from clients, and of messages of those without a session, by transport.", "transport"), counter, func(f figures, set func(float64, ...string)) {
		setAll(set, f.received, nil)
	}},
	{desc("pollbridge_sent_bytes_total", "Bytes of batches to clients, and of messages to those without a session, by transport.", "transport"), counter, func(f figures, set func(float64, ...string)) {
		setAll(set, f.sent, nil)
	}},
	{desc("pollbridge_ready", "1 if a backend can be used and the bridge does not drain, as /readyz has it."), gauge, func(f figures, set func(float64, ...string)) {
		set(oneIf(f.ready))
	}},
	{desc("pollbridge_draining", "1 while the bridge drains."), gauge, func(f figures, set func(float64, ...string)) {
		set(oneIf(f.draining))
	}},
	{desc("pollbridge_backend_ready", "1 if a channel to the backend is ready.", "backend"), gauge, func(f figures, set func(float64, ...string)) {
		for _, p := range f.pools {
			set(oneIf(p.Ready()), p.Name())
		}
	}},
	{desc("pollbridge_principals", "Principals that have sessions or RPCs."), gauge, func(f figures, set func(float64, ...string)) {
		set(float64(f.Principals))
	}},
	{desc("pollbridge_sessions_opened_total", "Sessions opened."), counter, func(f figures, set func(float64, ...string)) {
		set(float64(f.SessionsOpened))
	}},
	{desc("pollbridge_sessions_closed_total", "Sessions ended, by reason.", "reason"), counter, func(f figures, set func(float64, ...string)) {
		setAll(set, f.SessionsClosed, sessionEnds)
	}},
	{desc("pollbridge_resumes_total", "Links after the first of their session."), counter, func(f figures, set func(float64, ...string)) {
		set(float64(f.Resumes))
	}},
	{desc("pollbridge_refusals_total", "Batches refused, by reason.", "reason"), counter, func(f figures, set func(float64, ...string)) {
		setAll(set, f.Refusals, refusals)
	}},
	{desc("pollbridge_rpcs_refused_total", "RPCs ended before they began, by reason.", "reason"), counter, func(f figures, set func(float64, ...string)) {
		setAll(set, f.RefusedRPCs, rpcRefusals)
	}},
	{desc("pollbridge_wrong_keys_total", "Batches with another key than their session's."), counter, func(f figures, set func(float64, ...string)) {
		set(float64(f.WrongKeys))
	}},
	{desc("pollbridge_requests_refused_total", "HTTP requests refused, by reason.", "reason"), counter, func(f figures, set func(float64, ...string)) {
		setAll(set, f.refused, nil)
	}},
	{desc("pollbridge_frames_resent_total", "Frames retransmitted."), counter, func(f figures, set func(float64, ...string)) {
		set(float64(f.FramesResent))
	}},
	{desc("pollbridge_backend_channels", "Channels to a backend, by state.", "backend", "state"), gauge, func(f figures, set func(float64, ...string)) {
		for _, p := range f.pools {
			states := p.States()
			for state := connectivity.Idle; state <= connectivity.TransientFailure; state++ {
				set(float64(states[state]), p.Name(), state.String())
			}
		}
	}},
	{desc("pollbridge_backend_too_many_pings_total", "Connections closed by a backend for too many keepalive pings, as far as an RPC was on them.", "backend"), counter, func(f figures, set func(float64, ...string)) {
		for _, p := range f.pools {
			set(float64(p.Complaints()), p.Name())
		}
	}},
	clusterMetric(desc("pollbridge_cluster_connected", "1 while there is a connection to NATS."), gauge, func(c *cluster.Stats, set func(float64, ...string)) {
		set(oneIf(c.Connected))
	}),
	clusterMetric(desc("pollbridge_cluster_peers", "Other bridges of the cluster."), gauge, func(c *cluster.Stats, set func(float64, ...string)) {
		set(float64(c.Peers))
	}),
	clusterMetric(desc("pollbridge_cluster_links", "Links under way between bridges: out, landed here, and in, landed elsewhere.", "direction"), gauge, func(c *cluster.Stats, set func(float64, ...string)) {
		set(float64(c.Out), "out")
		set(float64(c.In), "in")
	}),
	clusterMetric(desc("pollbridge_cluster_links_forwarded_total", "Links that landed here of sessions of other bridges."), counter, func(c *cluster.Stats, set func(float64, ...string)) {
		set(float64(c.Forwarded))
	}),
	clusterMetric(desc("pollbridge_cluster_failures_total", "Links between bridges that failed, by reason.", "reason"), counter, func(c *cluster.Stats, set func(float64, ...string)) {
		setAll(set, c.Failures, cluster.Failures())
	}),
}

// clusterMetric is a metric of a bridge in a cluster.
func clusterMetric(desc *prometheus.Desc, kind prometheus.ValueType, read func(c *cluster.Stats, set func(float64, ...string))) metric {
	return metric{desc, kind, func(f figures, set func(float64, ...string)) {
		if f.cluster != nil {
			read(f.cluster, set)
		}
	}}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// The values of the label "reason".
var (
	sessionEnds = []string{engine.ReasonClosed, engine.ReasonExpired, engine.ReasonDrained, engine.ReasonDisconnected, engine.ReasonOverloaded, engine.ReasonViolation}
	rpcRefusals = []string{engine.ReasonLimit, engine.ReasonOverloaded, engine.ReasonUnauthenticated}
	refusals    = []string{"garbled", "version", "busy", "too_large", "unknown", "unauthenticated"}
)

// setAll sets the counts of all known reasons, and of any further one.
func setAll(set func(float64, ...string), counts map[string]uint64, known []string) {
	for _, reason := range known {
		set(float64(counts[reason]), reason)
	}
	for reason, n := range counts {
		if !slices.Contains(known, reason) {
			set(float64(n), reason)
		}
	}
}

// collector reads the table.
type collector struct{ s *Server }

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range table {
		out <- m.desc
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	f := c.s.figures()
	for _, m := range table {
		m.read(f, func(value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
		})
	}
}
