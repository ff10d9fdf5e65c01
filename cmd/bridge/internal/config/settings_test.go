package config_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
)

// everything is a file in which no setting has its default.
const everything = `
listen: 127.0.0.1:1
tls-cert: cert.pem
tls-key: key.pem
prefix: /other
rpc: true
descriptors: types.binpb
check: true
admin: 127.0.0.1:2
admin-token: the-secret-of-operators
admin-pprof: true
health-path: /alive
drain-timeout: 7s
backend:
  - target: a:1
    services: [a.]
    name: first
  - target: b:1
    services: [b.]
    name: second
    tls: false
    profile: fast
    service-config: '{}'
backend-tls: true
backend-ca: cert.pem
backend-cert: cert.pem
backend-key: key.pem
backend-server-name: other
backend-profile: balanced
backend-ready-timeout: 7s
backend-service-config: '{"methodConfig": []}'
backend-max-streams: 7
backend-channel-per-session: true
backend-json: true
allow-method: a.*
deny-method: a.B
allow-origin: https://a.example
allow-host: a.example
allow-header: traceparent
allow-private-network: true
trusted-proxy: 10.0.0.0/8
forward-header: Cookie
hold: 7s
resume-window: 7m
pause-max: 70m
max-message: 7MiB
max-metadata: 7KiB
max-batch: 700KiB
max-streams: 7
max-sessions: 7
max-sessions-per-client: 7
stream-window: 700KiB
session-window: 700KiB
session-rate: 7
ipv6-prefix: 56
max-buffered: 70MiB
max-rpcs: 7
max-rpcs-per-client: 7
log-level: debug
log-format: json
access-log: stderr
access-log-format: text
access-log-sample: 0.5
access-log-code: UNAVAILABLE
`

// elsewhere are the fields of bridge.Config that the binary sets by other means, or
// that are for programs alone.
var elsewhere = map[string]string{
	"Authenticate":   "--jwt-… and --forward-auth…",
	"Logger":         "--log-…",
	"AccessLog":      "--access-log…",
	"Registry":       "the binary's own",
	"TracerProvider": "OTEL_…",
	"OnDrain":        "the binary drains",
	"Cluster":        "--cluster",
	"ClusterName":    "--cluster-name",
}

// backendElsewhere are those of bridge.Backend.
var backendElsewhere = map[string]string{
	"ClientConn":  "a channel of the program's",
	"GRPCServer":  "a server in the program",
	"DialOptions": "code",
}

// TestEverySetting holds that every field of the library's configuration can be set
// by the binary, of each backend by itself too, and that every other setting is in
// one of the groups that the binary has for itself.
func TestEverySetting(t *testing.T) {
	s, err := load(t, everything, nil)
	if err != nil {
		t.Fatal(err)
	}
	differs(t, s.Bridge, bridge.Config{Backends: s.Bridge.Backends}.WithDefaults(), elsewhere)
	first := s.Bridge.Backends[0]
	differs(t, first, bridge.Backend{}.WithDefaults(), backendElsewhere)
	differs(t, *first.TLS, bridge.BackendTLS{}, nil)
	if second := s.Bridge.Backends[1]; second.TLS != nil || second.Profile != "fast" || second.ServiceConfig != "{}" || second.MaxConcurrentStreams != 7 {
		t.Errorf("a backend does not go by its own settings over those of all: %+v", second)
	}
	for _, o := range config.Options() {
		own := slices.ContainsFunc([]string{"jwt-", "forward-auth", "cluster", "reuse-port", "admin-token-file"}, func(prefix string) bool { return strings.HasPrefix(o.Name, prefix) })
		if !own && !strings.Contains(everything, "\n"+o.Name+":") {
			t.Errorf("%s is not tested here", o.Name)
		}
	}
}

// differs reports fields that are as in another value, but for those that are set
// elsewhere.
func differs(t *testing.T, got, other any, elsewhere map[string]string) {
	t.Helper()
	a, b := reflect.ValueOf(got), reflect.ValueOf(other)
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		same := reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface())
		if _, ok := elsewhere[name]; !ok && same && name != "Backends" {
			t.Errorf("%s.%s: no setting of the binary sets it", a.Type(), name)
		}
	}
}
