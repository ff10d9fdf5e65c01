package backend

import (
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// kinds are the descriptions for clients of failures on the way to a backend: the
// first whose sign is in the error's text applies. They name no host, port or
// file.
var kinds = []struct{ sign, kind string }{
	{"no such host", "name not resolved"},
	{"produced zero addresses", "name not resolved"},
	{"server misbehaving", "name not resolved"},
	{"lookup ", "name not resolved"},
	{"connection refused", "connection refused"},
	{"connection reset", "connection reset"},
	{"broken pipe", "connection reset"},
	{"no route to host", "no route to host"},
	{"network is unreachable", "network unreachable"},
	{"no such file", "no such socket"},
	{"unknown authority", "certificate of an unknown authority"},
	{"certificate is valid for", "certificate for another name"},
	{"certificate is not valid for any names", "certificate for another name"},
	{"has expired", "certificate expired"},
	{"certificate required", "client certificate required"},
	{"certificate", "certificate not accepted"},
	{"x509: ", "certificate not accepted"},
	{"tls: ", "TLS handshake failed"},
	{"handshake", "TLS handshake failed"},
	{"too many open files", "out of file descriptors"},
	{"i/o timeout", "timed out"},
	{"connection timed out", "timed out"},
	{"deadline exceeded", "timed out"},
	{"keepalive ping", "no answer to keepalive pings"},
	{"EOF", "connection closed"},
	{"closed network connection", "connection closed"},
}

// kindOf returns the kind of a failure.
func kindOf(text string) string {
	for _, k := range kinds {
		if strings.Contains(text, k.sign) {
			return k.kind
		}
	}
	return "connection failed"
}

// networkText matches the beginning of the net package's errors, with an address
// or a name.
var networkText = regexp.MustCompile(`\b(?:(?:dial|read|write|connect) (?:tcp|udp|ip|unix)\w* |lookup )\S`)

// keptAddresses is how many addresses a channel remembers: gRPC may report an
// error of a connection after the next one was dialled.
const keptAddresses = 32

// addresses are the addresses of both ends of a channel's latest connections.
type addresses struct {
	mu   sync.Mutex
	list []string
}

func (a *addresses) note(conn net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, addr := range []net.Addr{conn.LocalAddr(), conn.RemoteAddr()} {
		if text := addr.String(); strings.ContainsAny(text, ":/") && !slices.Contains(a.list, text) {
			a.list = append(a.list, text)
		}
	}
	a.list = a.list[max(0, len(a.list)-keptAddresses):]
}

func (a *addresses) in(text string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.list, func(addr string) bool { return strings.Contains(text, addr) })
}

// incidentSpan is how long RPCs that fail for the same reason share an ID and a
// line in the log.
const incidentSpan = time.Second

// incidents assigns IDs to failures, with which a client's report can be found in
// the log.
type incidents struct {
	mu     sync.Mutex
	latest map[string]incident // by kind
}

type incident struct {
	id    string
	until time.Time
}

func (t *turn) report(kind, text string) string { return t.pool.report(t.ch.log, kind, text) }

// report returns the ID of a failure of the given kind, and logs it with all
// details unless the same failure was just logged.
func (p *Pool) report(log *slog.Logger, kind, text string) string {
	in := &p.incidents
	now := time.Now()
	in.mu.Lock()
	defer in.mu.Unlock()
	if last, ok := in.latest[kind]; ok && now.Before(last.until) {
		return last.id
	}
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	id := hex.EncodeToString(b[:])
	if in.latest == nil {
		in.latest = make(map[string]incident)
	}
	in.latest[kind] = incident{id, now.Add(incidentSpan)}
	log.Warn("RPC failed on the way to the backend", "id", id, "err", text)
	return id
}

// public returns an RPC's error for the client: the backend's own status
// unchanged, but only the kind and an ID of a failure on the way to it. gRPC does
// not distinguish the two, except by the addresses of the channel's connections.
func (t *turn) public(err error) *status.Status {
	s := status.Convert(err)
	internal := t.ch.addresses.in(s.Message())
	if t.ch.own == nil { // its connections are not known
		internal = s.Code() == codes.Unavailable && networkText.MatchString(s.Message())
	}
	if !internal {
		return s
	}
	kind := kindOf(s.Message())
	return status.Newf(s.Code(), "lost the backend: %s (id %s)", kind, t.report(kind, s.Message()))
}

var idText = regexp.MustCompile(`\(id ([0-9a-f]{8})\)`)

// IncidentID returns the ID in the message of a status of this package, "" if it
// has none.
func IncidentID(message string) string {
	if match := idText.FindStringSubmatch(message); match != nil {
		return match[1]
	}
	return ""
}
