package bridge_test

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/bridge"
)

// fields has a case for every field: a change that Validate must refuse, by
// the name of the field, or nil where every value is good; and whether the
// zero value is replaced by a default.
type fieldCase struct {
	bad       func(*bridge.Config)
	field     string // as the error names it
	defaulted bool
}

func backends(b bridge.Backend) func(*bridge.Config) {
	return func(c *bridge.Config) { c.Backends = []bridge.Backend{b} }
}

var configFields = map[string]fieldCase{
	"Backends":                {bad: func(c *bridge.Config) { c.Backends = nil }, field: "Backends"},
	"Prefix":                  {bad: func(c *bridge.Config) { c.Prefix = "bridge/" }, field: "Prefix", defaulted: true},
	"AllowOrigins":            {bad: func(c *bridge.Config) { c.AllowOrigins = []string{"https://a", "a/b"} }, field: "AllowOrigins[1]"},
	"AllowHosts":              {bad: func(c *bridge.Config) { c.AllowHosts = []string{"a:80"} }, field: "AllowHosts[0]"},
	"AllowHeaders":            {bad: func(c *bridge.Config) { c.AllowHeaders = []string{"traceparent", "x-*"} }, field: "AllowHeaders[1]"},
	"AllowPrivateNetwork":     {},
	"TrustedProxies":          {bad: func(c *bridge.Config) { c.TrustedProxies = make([]netip.Prefix, 1) }, field: "TrustedProxies[0]"},
	"AllowMethods":            {bad: func(c *bridge.Config) { c.AllowMethods = []string{"a*b"} }, field: "AllowMethods[0]", defaulted: true},
	"DenyMethods":             {bad: func(c *bridge.Config) { c.DenyMethods = []string{""} }, field: "DenyMethods[0]"},
	"Authenticate":            {},
	"ForwardHeaders":          {bad: func(c *bridge.Config) { c.ForwardHeaders = []string{"Content-Length"} }, field: "ForwardHeaders[0]"},
	"Check":                   {},
	"RPC":                     {},
	"Cluster":                 {},
	"ClusterName":             {bad: func(c *bridge.Config) { c.ClusterName = "a.b" }, field: "ClusterName", defaulted: true},
	"Descriptors":             {bad: func(c *bridge.Config) { c.Descriptors = "api.binpb" }, field: "Descriptors"},
	"DrainTimeout":            {bad: func(c *bridge.Config) { c.DrainTimeout = -1 }, field: "DrainTimeout", defaulted: true},
	"Logger":                  {defaulted: true},
	"Registry":                {},
	"AccessLog":               {},
	"TracerProvider":          {},
	"Hold":                    {bad: func(c *bridge.Config) { c.Hold = time.Hour }, field: "Hold", defaulted: true},
	"ResumeWindow":            {bad: func(c *bridge.Config) { c.ResumeWindow = -1 }, field: "ResumeWindow", defaulted: true},
	"PauseMax":                {bad: func(c *bridge.Config) { c.PauseMax = time.Second }, field: "PauseMax", defaulted: true},
	"MaxMessageBytes":         {bad: func(c *bridge.Config) { c.MaxMessageBytes = 2 << 30 }, field: "MaxMessageBytes", defaulted: true},
	"MaxMetadataBytes":        {bad: func(c *bridge.Config) { c.MaxMetadataBytes = 1 }, field: "MaxMetadataBytes", defaulted: true},
	"MaxBatchBytes":           {bad: func(c *bridge.Config) { c.MaxBatchBytes = 1000 }, field: "MaxBatchBytes", defaulted: true},
	"StreamWindow":            {bad: func(c *bridge.Config) { c.StreamWindow = 1000 }, field: "StreamWindow", defaulted: true},
	"SessionWindow":           {bad: func(c *bridge.Config) { c.SessionWindow = 1000 }, field: "SessionWindow", defaulted: true},
	"MaxStreams":              {bad: func(c *bridge.Config) { c.MaxStreams = -1 }, field: "MaxStreams", defaulted: true},
	"MaxSessions":             {bad: func(c *bridge.Config) { c.MaxSessions = -1 }, field: "MaxSessions", defaulted: true},
	"MaxSessionsPerPrincipal": {bad: func(c *bridge.Config) { c.MaxSessionsPerPrincipal = -1 }, field: "MaxSessionsPerPrincipal", defaulted: true},
	"MaxBufferedBytes":        {bad: func(c *bridge.Config) { c.MaxBufferedBytes = 1 }, field: "MaxBufferedBytes", defaulted: true},
	"AdminToken":              {bad: func(c *bridge.Config) { c.AdminToken = "guessed" }, field: "AdminToken"},
	"AdminProfiles":           {},
	"OnDrain":                 {},
	"SessionRate":             {bad: func(c *bridge.Config) { c.SessionRate = -1 }, field: "SessionRate", defaulted: true},
	"IPv6Prefix":              {bad: func(c *bridge.Config) { c.IPv6Prefix = 129 }, field: "IPv6Prefix", defaulted: true},
	"MaxRPCs":                 {bad: func(c *bridge.Config) { c.MaxRPCs = -1 }, field: "MaxRPCs", defaulted: true},
	"MaxRPCsPerPrincipal":     {bad: func(c *bridge.Config) { c.MaxRPCsPerPrincipal = -1 }, field: "MaxRPCsPerPrincipal", defaulted: true},
}

var backendFields = map[string]fieldCase{
	"Name": {bad: func(c *bridge.Config) {
		c.Backends = []bridge.Backend{{Name: "a", Target: "x:1"}, {Name: "a", Target: "x:2", Services: []string{"s."}}}
	}, field: "Backends[1].Name", defaulted: true},
	"Target":               {bad: backends(bridge.Backend{}), field: "Backends[0].Target"},
	"ClientConn":           {bad: backends(bridge.Backend{Target: "x:1", ClientConn: &grpc.ClientConn{}}), field: "Backends[0].Target"},
	"GRPCServer":           {bad: backends(bridge.Backend{Target: "x:1", GRPCServer: &grpc.Server{}}), field: "Backends[0].Target"},
	"Services":             {bad: backends(bridge.Backend{Target: "x:1", Services: []string{"/a"}}), field: "Backends[0].Services[0]", defaulted: true},
	"TLS":                  {bad: backends(bridge.Backend{GRPCServer: &grpc.Server{}, TLS: &bridge.BackendTLS{}}), field: "Backends[0].TLS"},
	"Profile":              {bad: backends(bridge.Backend{Target: "x:1", Profile: "eager"}), field: "Backends[0].Profile", defaulted: true},
	"ServiceConfig":        {bad: backends(bridge.Backend{Target: "x:1", ServiceConfig: "{"}), field: "Backends[0].ServiceConfig"},
	"JSON":                 {},
	"ReadyTimeout":         {bad: backends(bridge.Backend{Target: "x:1", ReadyTimeout: -1}), field: "Backends[0].ReadyTimeout", defaulted: true},
	"MaxConcurrentStreams": {bad: backends(bridge.Backend{Target: "x:1", MaxConcurrentStreams: -1}), field: "Backends[0].MaxConcurrentStreams", defaulted: true},
	"ChannelPerSession":    {bad: backends(bridge.Backend{ClientConn: &grpc.ClientConn{}, ChannelPerSession: true}), field: "Backends[0].ChannelPerSession"},
	"DialOptions":          {},
}

var tlsFields = map[string]fieldCase{
	"CAFile":     {},
	"ServerName": {},
	"CertFile":   {bad: backends(bridge.Backend{Target: "x:1", TLS: &bridge.BackendTLS{CertFile: "c"}}), field: "Backends[0].TLS.KeyFile"},
	"KeyFile":    {bad: backends(bridge.Backend{Target: "x:1", TLS: &bridge.BackendTLS{KeyFile: "k"}}), field: "Backends[0].TLS.KeyFile"},
}

func good() bridge.Config {
	return bridge.Config{Backends: []bridge.Backend{{Target: "127.0.0.1:1"}}}
}

// problems are the fields that Validate names.
func problems(c bridge.Config) []string {
	err := c.Validate()
	if err == nil {
		return nil
	}
	var names []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		problem, ok := errors.AsType[*bridge.ConfigError](e)
		if !ok {
			return []string{"not a ConfigError: " + e.Error()}
		}
		names = append(names, problem.Field)
	}
	return names
}

func TestConfig_everyFieldHasACase(t *testing.T) {
	for _, tt := range []struct {
		value any
		cases map[string]fieldCase
	}{
		{good().WithDefaults(), configFields},
		{good().WithDefaults().Backends[0], backendFields},
		{bridge.BackendTLS{}, tlsFields},
	} {
		v := reflect.ValueOf(tt.value)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			c, ok := tt.cases[name]
			if !ok {
				t.Errorf("%s.%s: no case in this test", v.Type(), name)
				continue
			}
			if c.defaulted && v.Field(i).IsZero() {
				t.Errorf("%s.%s: no default", v.Type(), name)
			}
			if c.bad == nil {
				continue
			}
			cfg := good()
			c.bad(&cfg)
			if got := problems(cfg); !slices.Contains(got, c.field) {
				t.Errorf("%s.%s: got problems %q, want %s", v.Type(), name, got, c.field)
			}
		}
	}
}

func TestConfig_good(t *testing.T) {
	cfg := good()
	cfg.Prefix = "/a/b"
	cfg.AllowOrigins = []string{"*", "https://a.example", "http://localhost:5173"}
	cfg.AllowOrigins = append(cfg.AllowOrigins, "https://*.a.example")
	cfg.AllowHosts = []string{"a.example", "*.a.example", "10.0.0.1", "[::1]"}
	cfg.AllowHeaders = []string{"traceparent"}
	cfg.AllowMethods = []string{"*", "a.B", "/a.B/C", "a.B/Get*"}
	cfg.ForwardHeaders = []string{"Cookie", "X-Request-Id"}
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"/", "//", "/a/", "/a//b", "/{x}", "/a?b", "/a/../b"} {
		cfg.Prefix = bad
		if got := problems(cfg); !slices.Equal(got, []string{"Prefix"}) {
			t.Errorf("prefix %q: problems %q", bad, got)
		}
	}
}

// TestNew_refuses what is wrong beyond the Config itself.
func TestNew_refuses(t *testing.T) {
	cfg := bridge.Config{Backends: []bridge.Backend{
		{Target: "127.0.0.1:1"},
		{Target: "127.0.0.1:2", Services: []string{"a."}, TLS: &bridge.BackendTLS{CAFile: "/nowhere/ca.pem"}},
	}}
	_, err := bridge.New(cfg)
	problem, ok := errors.AsType[*bridge.ConfigError](err)
	if !ok || problem.Field != "Backends[1].TLS.CAFile" || !strings.Contains(problem.Problem, "/nowhere/ca.pem") {
		t.Errorf("got %v", err)
	}
}

func TestConfig_methods(t *testing.T) {
	for _, tt := range []struct {
		cfg             bridge.Config
		allowed, denied string
	}{
		{bridge.Config{}, "/a.B/C /grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/X /grpc.channelz.v1.C/X /envoy.service.X/Y"},
		{bridge.Config{AllowMethods: []string{"*", "grpc.reflection.*"}}, "/a.B/C /grpc.reflection.v1.ServerReflection/X", "/envoy.x/Y"},
		{bridge.Config{AllowMethods: []string{"a.B", "c.D/Get*"}}, "/a.B/C /c.D/GetX", "/a.BB/C /c.D/Set /x.Y/Z"},
		{bridge.Config{AllowMethods: []string{"grpc.reflection.v1.ServerReflection"}}, "/grpc.reflection.v1.ServerReflection/X", "/a.B/C"},
		{bridge.Config{DenyMethods: []string{}}, "/grpc.reflection.v1.ServerReflection/X", ""},
		{bridge.Config{DenyMethods: []string{"a.*"}, AllowMethods: []string{"*", "a.B/C"}}, "/a.B/C /x.Y/Z", "/a.B/D"},
		{bridge.Config{DenyMethods: []string{"a.B"}, AllowMethods: []string{"a.B"}}, "", "/a.B/C"},
	} {
		cfg := tt.cfg.WithDefaults()
		for m := range strings.FieldsSeq(tt.allowed) {
			if !cfg.Allows(m) {
				t.Errorf("%q %q: %s is denied", tt.cfg.AllowMethods, tt.cfg.DenyMethods, m)
			}
		}
		for m := range strings.FieldsSeq(tt.denied) {
			if cfg.Allows(m) {
				t.Errorf("%q %q: %s is allowed", tt.cfg.AllowMethods, tt.cfg.DenyMethods, m)
			}
		}
	}
}

// TestConfig_patterns: a pattern that no method could fit is a mistake.
func TestConfig_patterns(t *testing.T) {
	for _, bad := range []string{
		"", "/", "//", "a b", "a**", "a*b", "*a", "a.B/C/D", "a..*", "a.", ".a", "a.B/", "a.B/C.D", "a/../b", "a.B/C D", "a%2eB", "a-b.C", "1a.B", "é.*", "/a.B//C",
	} {
		cfg := good()
		cfg.AllowMethods, cfg.DenyMethods = []string{"*", bad}, []string{bad}
		if got := problems(cfg); !slices.Equal(got, []string{"AllowMethods[1]", "DenyMethods[0]"}) {
			t.Errorf("%q: problems %q", bad, got)
		}
	}
	for _, bad := range []string{"a.B/", "a.*", "a..", ".a", "a b", "a%2e", "1a"} {
		cfg := good()
		cfg.Backends[0].Services = []string{"", bad}
		if got := problems(cfg); !slices.Equal(got, []string{"Backends[0].Services[1]"}) {
			t.Errorf("service %q: problems %q", bad, got)
		}
	}
	cfg := good()
	cfg.AllowMethods = []string{"*", "/*", "a.B", "/a.B", "a.B/C", "/a.B/C", "a.B/*", "a.B/Get*", "a.*", "a*", "B"}
	cfg.Backends[0].Services = []string{"a.", "a.B", "a"}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}
