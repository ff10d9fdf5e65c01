package config_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/pemtest"
)

// load runs the loader in an empty directory that holds file as bridge.yaml,
// a certificate pair and a file of nonsense.
func load(t *testing.T, file string, env map[string]string, args ...string) (*config.Settings, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	pemtest.Write(t, ".")
	writeFile(t, "nonsense.pem", "nonsense")
	if file != "" {
		writeFile(t, "bridge.yaml", file)
		args = append([]string{"--config", "bridge.yaml"}, args...)
	}
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	flags := config.NewFlags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	environ := []string{"PATH=/bin"}
	for name, text := range env {
		environ = append(environ, name+"="+text)
	}
	return flags.Load(environ)
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestErrors holds the exact text of every mistake, all of them at once.
func TestErrors(t *testing.T) {
	tests := []struct {
		name string
		file string
		env  map[string]string
		args []string
		want []string
	}{
		{
			name: "nothing given",
			want: []string{"backend: none given, want at least one HOST:PORT of a gRPC server"},
		},
		{
			name: "everything wrong in a file",
			file: `# a comment
listen: 8080
backend:
  - localhost:50051
  - localhost
bakend: localhost:1
allow-origin: https://app.example.com/path
trusted-proxy: [10.0.0.0/8, 10.0.0.0/33]
hold: 25
max-message: 16MB
max-streams: many
backend-tls: yes
drain-timeout: -1s
drain-timeout: 20s
tls-cert: missing.pem
tls-key: .
log-level: loud
log-format: xml
admin: localhost:70000
prefix:
max-batch: {bytes: 1}
? [listen]
: x
`,
			want: []string{
				`bridge.yaml:2: listen: "8080" is wrong, want HOST:PORT, :PORT or unix:PATH`,
				`bridge.yaml:5: backend: "localhost" is wrong, want HOST:PORT, or PREFIX=HOST:PORT for the services whose full name begins with PREFIX`,
				`bridge.yaml:6: unknown key "bakend", did you mean "backend"?`,
				`bridge.yaml:7: allow-origin: origin "https://app.example.com/path": has more than scheme, host and port`,
				`bridge.yaml:8: trusted-proxy: "10.0.0.0/33" is wrong, want a network such as 10.0.0.0/8, or an address`,
				`bridge.yaml:9: hold: "25" is wrong, want a duration such as 500ms, 20s or 1m30s`,
				`bridge.yaml:10: max-message: "16MB" is wrong, want a number of bytes such as 65536, 64KiB, 16MiB or 1GiB`,
				`bridge.yaml:11: max-streams: "many" is wrong, want a whole number above 0`,
				`bridge.yaml:12: backend-tls: "yes" is wrong, want true or false`,
				`bridge.yaml:13: drain-timeout: "-1s" is wrong, want a duration such as 500ms, 20s or 1m30s`,
				`bridge.yaml:14: drain-timeout: given twice, first in line 13`,
				`bridge.yaml:15: tls-cert: cannot read "missing.pem": no such file or directory; want a file in PEM`,
				`bridge.yaml:16: tls-key: "." is a directory, want a file in PEM`,
				`bridge.yaml:17: log-level: "loud" is wrong, want debug, info, warn or error`,
				`bridge.yaml:18: log-format: "xml" is wrong, want text or json`,
				`bridge.yaml:19: admin: "localhost:70000" is wrong, want a port from 0 to 65535`,
				`bridge.yaml:20: prefix: not a plain value, want a single value`,
				`bridge.yaml:21: max-batch: not a plain value, want a single value`,
				`bridge.yaml:22: want a plain key`,
			},
		},
		{
			name: "out of range, by the bridge's own check",
			file: "backend: [a=localhost:1, b=localhost:1, a=localhost:1]\nprefix: bridge/\nhold: 1h\nallow-host: [ok.example, 'a:1']\n",
			args: []string{"--deny-method", "a b", "--deny-method", "c d", "--backend-service-config", "{"},
			want: []string{
				`bridge.yaml:1: backend: services that begin with "a" go to localhost:1 already; want a PREFIX= before one of them, or, if they share the RPCs, each as another HOST:PORT`,
				`bridge.yaml:2: prefix: "bridge/" does not start with a slash`,
				`bridge.yaml:3: hold: 1h0m0s is not within 1s and 10m0s`,
				`bridge.yaml:4: allow-host: host "a:1": want a name or address without a port, or *.example.com for all names below a domain`,
				`--backend-service-config: not valid JSON`,
				`--deny-method: "a b" is not pkg.Service/Method, pkg.Service, or the beginning of one with a star, as pkg.*`,
				`--deny-method: "c d" is not pkg.Service/Method, pkg.Service, or the beginning of one with a star, as pkg.*`,
			},
		},
		{
			name: "each source by its own name",
			file: "backend: a:1\nlisten: x\n",
			env:  map[string]string{"POLLBRIDGE_LISTEN": "y", "POLLBRIDGE_TRUSTED_PROXY": "10.0.0.0/8, nobody"},
			args: []string{"--listen", "z"},
			want: []string{
				`bridge.yaml:2: listen: "x" is wrong, want HOST:PORT, :PORT or unix:PATH`,
				`POLLBRIDGE_LISTEN: "y" is wrong, want HOST:PORT, :PORT or unix:PATH`,
				`POLLBRIDGE_TRUSTED_PROXY: "nobody" is wrong, want a network such as 10.0.0.0/8, or an address`,
				`--listen: "z" is wrong, want HOST:PORT, :PORT or unix:PATH`,
			},
		},
		{
			name: "places to listen and paths",
			file: "backend: a:1\nlisten: 'unix:'\nadmin: unix:///run/bridge.sock\nhealth-path: healthz\n",
			args: []string{"--health-path", "/a/../b"},
			want: []string{
				`bridge.yaml:2: listen: "unix:" is wrong, want unix:PATH, with a path of at most 103 bytes`,
				`bridge.yaml:3: admin: "unix:///run/bridge.sock" is wrong, want unix:PATH, with a path of at most 103 bytes`,
				`bridge.yaml:4: health-path: "healthz" is wrong, want a plain path such as /healthz`,
				`--health-path: "/a/../b" is wrong, want a plain path such as /healthz`,
			},
		},
		{
			name: "halves of pairs",
			args: []string{"--backend", "a:1", "--tls-cert", "cert.pem", "--backend-key", "key.pem", "--backend-ca", "cert.pem"},
			want: []string{
				"--tls-cert: given without tls-key, want both or neither",
				"--backend-key: given without backend-cert, want both or neither",
				"--backend-ca: given without backend-tls, which it requires",
				"--backend-key: given without backend-tls, which it requires",
			},
		},
		{
			name: "unknown variables",
			env: map[string]string{
				"POLLBRIDGE_JWT_ISUER": "x", "POLLBRIDGE_BACKEND": "a:1", "POLLBRIDGES": "no concern of ours",
				// of Services called pollbridge and pollbridge-admin
				"POLLBRIDGE_SERVICE_HOST": "10.0.0.1", "POLLBRIDGE_SERVICE_PORT": "80", "POLLBRIDGE_SERVICE_PORT_HTTP": "80", "POLLBRIDGE_PORT": "tcp://10.0.0.1:80",
				"POLLBRIDGE_PORT_80_TCP": "tcp://10.0.0.1:80", "POLLBRIDGE_PORT_80_TCP_PROTO": "tcp", "POLLBRIDGE_PORT_80_TCP_PORT": "80", "POLLBRIDGE_PORT_80_TCP_ADDR": "10.0.0.1",
				"POLLBRIDGE_ADMIN_SERVICE_HOST": "10.0.0.2", "POLLBRIDGE_ADMIN_PORT": "tcp://10.0.0.2:9090", "POLLBRIDGE_ADMIN_PORT_9090_TCP_ADDR": "10.0.0.2",
			},
			want: []string{`unknown variable "POLLBRIDGE_JWT_ISUER", did you mean "POLLBRIDGE_JWT_ISSUER"?`},
		},
		{
			name: "two backends for everything that cannot share it",
			args: []string{"--backend", "a:1", "--backend", "dns:///b:1", "--backend", "a:1", "--backend", "unix:/b"},
			want: []string{
				"--backend: every service goes to a:1 already; want a PREFIX= before one of them, or, if they share the RPCs, each as another HOST:PORT",
				"--backend: every service goes to a:1 already; want a PREFIX= before one of them, or, if they share the RPCs, each as another HOST:PORT",
				"--backend: every service goes to a:1 already; want a PREFIX= before one of them, or, if they share the RPCs, each as another HOST:PORT",
			},
		},
		{
			name: "backends as mappings",
			file: `backend:
  - {target: a:1, services: [a.]}
  - target: b:1
    services: b.
    tls: yes
    ca: missing.pem
    profil: fast
  - services: [c.]
    profile: eager
    ready-timeout: 1s
    ready-timeout: 2s
  - target: http://d:1
    services: [d., 'd*']
    key: key.pem
    server-name: [x]
  - - x
`,
			want: []string{
				`bridge.yaml:5: backend: tls: "yes" is wrong, want true or false`,
				`bridge.yaml:6: backend: ca: cannot read "missing.pem": no such file or directory; want a file in PEM`,
				`bridge.yaml:7: backend: unknown key "profil", did you mean "profile"?`,
				`bridge.yaml:8: backend: no target, want where the gRPC server is`,
				`bridge.yaml:9: backend: profile: "eager" is wrong, want safe, balanced or fast`,
				`bridge.yaml:11: backend: ready-timeout: given twice`,
				`bridge.yaml:12: backend: target: "http://d:1" is wrong, want HOST:PORT, several of them with commas between, dns:///HOST:PORT or unix:PATH`,
				`bridge.yaml:14: backend: key: given without cert, want both or neither`,
				`bridge.yaml:15: backend: server-name: not a plain value`,
				`bridge.yaml:16: backend: not a plain value, want an item`,
			},
		},
		{
			name: "backends out of range, by the bridge's own check",
			file: `backend:
  - {target: a:1, services: [a.], ready-timeout: 2h}
  - target: b:1
    services: [b., 'x*']
    tls: true
  - {target: e:1, services: [e.], cert: cert.pem, key: key.pem}
  - {target: c:1, services: [c.], service-config: nonsense, name: twice}
  - {target: d:1, services: [d.], name: twice}
backend-ready-timeout: 3h
`,
			args: []string{"--backend-max-streams", "3000000000"},
			want: []string{
				`bridge.yaml:2: backend: ready-timeout: 2h0m0s is not within 1ms and 1h0m0s`,
				`bridge.yaml:4: backend: services: "x*" is not a prefix of a service's name`,
				`bridge.yaml:6: backend: cert: given without tls, which it requires`,
				`bridge.yaml:6: backend: key: given without tls, which it requires`,
				`bridge.yaml:7: backend: service-config: not valid JSON`,
				`bridge.yaml:8: backend: name: "twice" is the name of another backend already, of Backends[3]`,
				`bridge.yaml:9: backend-ready-timeout: 3h0m0s is not within 1ms and 1h0m0s`,
				`--backend-max-streams: 3000000000 is not within 1 and 2147483647`,
			},
		},
		{
			name: "backends as mappings in flags and the environment",
			env:  map[string]string{"POLLBRIDGE_BACKEND": "[{target: a:1, tls: maybe}, b]"},
			args: []string{"--backend", "{target: c:1, profil: x}", "--backend", "{target: d:1"},
			want: []string{
				`POLLBRIDGE_BACKEND: tls: "maybe" is wrong, want true or false`,
				`POLLBRIDGE_BACKEND: "b" is wrong, want HOST:PORT, or PREFIX=HOST:PORT for the services whose full name begins with PREFIX`,
				`--backend: unknown key "profil", did you mean "profile"?`,
				`--backend: "{target: d:1" is wrong, want a mapping in YAML such as {target: HOST:PORT, tls: true}`,
			},
		},
		{
			name: "authentication",
			file: `backend: a:1
jwt-jwks: missing.json
jwt-algorithm: [RS256, HS256, none]
jwt-claim-to-metadata: [email=x-email, email, email=X-Email, "email=grpc-x", "=x"]
jwt-allow-method: ["scope=a:*", "scope=a", "scope=:*", "scope=a:b*c", ":*"]
forward-auth: ftp://x
forward-auth-response-header: "a b"
`,
			want: []string{
				`bridge.yaml:2: jwt-jwks: cannot read "missing.json": no such file or directory; want a URL or a file with a JSON Web Key Set`,
				`bridge.yaml:3: jwt-algorithm: "HS256" is wrong, want RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA`,
				`bridge.yaml:3: jwt-algorithm: "none" is wrong, want RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA`,
				`bridge.yaml:4: jwt-claim-to-metadata: "email" is wrong, want CLAIM=KEY, such as email=x-email`,
				`bridge.yaml:4: jwt-claim-to-metadata: "email=X-Email" is wrong: "X-Email" cannot be a key of metadata, want one such as x-email`,
				`bridge.yaml:4: jwt-claim-to-metadata: "email=grpc-x" is wrong: "grpc-x" cannot be a key of metadata, want one such as x-email`,
				`bridge.yaml:4: jwt-claim-to-metadata: "=x" is wrong, want CLAIM=KEY, such as email=x-email`,
				`bridge.yaml:5: jwt-allow-method: "scope=a" is wrong, want CLAIM=VALUE:PATTERN, such as scope=chat.read:chat.Chat/Get*`,
				`bridge.yaml:5: jwt-allow-method: "scope=:*" is wrong, want CLAIM=VALUE:PATTERN, such as scope=chat.read:chat.Chat/Get*`,
				`bridge.yaml:5: jwt-allow-method: "scope=a:b*c" is wrong: "b*c" is not pkg.Service/Method, pkg.Service, or the beginning of one with a star, as pkg.*`,
				`bridge.yaml:5: jwt-allow-method: ":*" is wrong, want CLAIM=VALUE:PATTERN, such as scope=chat.read:chat.Chat/Get*`,
				`bridge.yaml:6: forward-auth: "ftp://x" is wrong, want a URL such as https://auth.example.com/verify`,
				`bridge.yaml:6: forward-auth: given together with jwt-jwks, want one of them`,
				`bridge.yaml:7: forward-auth-response-header: "a b" is wrong, want the name of a header, such as X-Roles`,
			},
		},
		{
			name: "access log",
			args: []string{"--backend", "a:1", "--access-log", "stdout", "--access-log-sample", "0", "--access-log-code", "OK", "--access-log-code", "LOST", "--access-log-format", "xml"},
			want: []string{
				`--access-log-format: "xml" is wrong, want text or json`,
				`--access-log-sample: "0" is wrong, want a number above 0 and at most 1, such as 0.01`,
				`--access-log-code: "LOST" is wrong, want a gRPC status code such as NOT_FOUND`,
			},
		},
		{
			name: "authentication without its source",
			args: []string{"--backend", "a:1", "--jwt-issuer", "x", "--jwt-clock-skew", "1s", "--forward-auth-valid-for", "1m"},
			want: []string{
				"--jwt-issuer: given without jwt-jwks, which it requires",
				"--jwt-clock-skew: given without jwt-jwks, which it requires",
				"--forward-auth-valid-for: given without forward-auth, which it requires",
			},
		},
		{
			name: "no certificate",
			args: []string{"--backend", "a:1", "--tls-cert", "nonsense.pem", "--tls-key", "key.pem"},
			want: []string{"--tls-cert: unusable with tls-key: tls: failed to find any PEM data in certificate input; want a certificate and its key in PEM"},
		},
		{
			name: "no file",
			args: []string{"--backend", "a:1", "--config", "missing.yaml"},
			want: []string{`config: cannot read "missing.yaml": no such file or directory; want a YAML file`},
		},
		{
			name: "not YAML",
			file: "backend: a:1\nlisten: [1\nhold: 2\n",
			args: []string{"--backend", "a:1"},
			want: []string{"bridge.yaml:2: not YAML: did not find expected ',' or ']'"},
		},
		{
			name: "no settings",
			file: "- a\n- b\n",
			args: []string{"--backend", "a:1"},
			want: []string{"bridge.yaml:1: want settings, each as key: value"},
		},
		{
			name: "not UTF-8",
			file: "backend: a:1\nlisten: \xff\n",
			args: []string{"--backend", "a:1"},
			want: []string{"bridge.yaml:2: not UTF-8"},
		},
		{
			name: "two documents",
			file: "backend: a:1\n---\nhold: 1s\n",
			want: []string{"bridge.yaml:2: a second YAML document, want one"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := load(t, test.file, test.env, test.args...)
			errs, ok := errors.AsType[config.Errors](err)
			if !ok {
				t.Fatalf("got %v, want config.Errors", err)
			}
			got := strings.Split(errs.Error(), "\n")
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(test.want, "\n\t"))
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	file := "listen: :1\nadmin: :1\nhold: 1s\nallow-origin: [https://file.example]\nbackend: file:1\n"
	env := map[string]string{
		"POLLBRIDGE_ADMIN": ":2", "POLLBRIDGE_HOLD": "2s", "POLLBRIDGE_LOG_LEVEL": "",
		"POLLBRIDGE_ALLOW_ORIGIN": "https://a.example, https://b.example", "POLLBRIDGE_BACKEND_TLS": "true",
	}
	s, err := load(t, file, env, "--hold", "3s", "--trusted-proxy", "10.1.2.3/8", "--trusted-proxy", "::1", "--backend-tls=false")
	if err != nil {
		t.Fatal(err)
	}
	if s.Listen != ":1" || s.Admin != ":2" || s.Bridge.Hold != 3*time.Second || s.LogLevel != slog.LevelInfo {
		t.Errorf("listen %q, admin %q, hold %v, log-level %v: want :1 of the file, :2 of the environment, 3s of the flag, info by default",
			s.Listen, s.Admin, s.Bridge.Hold, s.LogLevel)
	}
	if want := []string{"https://a.example", "https://b.example"}; !reflect.DeepEqual(s.Bridge.AllowOrigins, want) {
		t.Errorf("allow-origin %q, want %q", s.Bridge.AllowOrigins, want)
	}
	if want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}; !reflect.DeepEqual(s.Bridge.TrustedProxies, want) {
		t.Errorf("trusted-proxy %v, want %v", s.Bridge.TrustedProxies, want)
	}
	if s.Bridge.Backends[0].TLS != nil {
		t.Error("backend-tls=false did not win over the environment")
	}
}

func TestBackends(t *testing.T) {
	s, err := load(t, "", nil, "--backend-tls", "--backend-ca", "cert.pem", "--backend-profile", "fast", "--tls-cert", "cert.pem", "--tls-key", "key.pem",
		"--backend", "main:1", "--backend", "chat.=chat:2", "--backend", "shop.v1.=chat:2", "--backend", "log.=dns:///log:3")
	if err != nil {
		t.Fatal(err)
	}
	if s.TLSCert != "cert.pem" || s.TLSKey != "key.pem" {
		t.Error("no certificate")
	}
	got := map[string][]string{}
	for _, b := range s.Bridge.Backends {
		got[b.Target] = b.Services
		if b.TLS == nil || b.TLS.CAFile != "cert.pem" || b.Profile != "fast" || b.ReadyTimeout != 10*time.Second {
			t.Errorf("%s: %+v lacks what all backends have in common", b.Target, b)
		}
	}
	want := map[string][]string{"main:1": {""}, "chat:2": {"chat.", "shop.v1."}, "dns:///log:3": {"log."}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("backends %v, want %v", got, want)
	}
}

// TestBackends_ownSettings: a backend given as a mapping has what it says itself
// and, beside it, what all have in common, whatever source it is in.
func TestBackends_ownSettings(t *testing.T) {
	file := `backend:
  - main:1,main:2
  - &second
    target: dns:///second:443
    services: [b., c.]
    name: second
    tls: true
    ca: cert.pem
    server-name: second.example
    profile: balanced
    ready-timeout: 1s
    service-config: '{"loadBalancingPolicy":"pick_first"}'
    max-streams: 7
    channel-per-session: true
backend-profile: fast
`
	common := bridge.Backend{Target: "main:1,main:2", Services: []string{""}, Profile: "fast", ReadyTimeout: 10 * time.Second, MaxConcurrentStreams: 1000}
	second := bridge.Backend{
		Target: "dns:///second:443", Services: []string{"b.", "c."}, Name: "second", TLS: &bridge.BackendTLS{CAFile: "cert.pem", ServerName: "second.example"},
		Profile: "balanced", ReadyTimeout: time.Second, ServiceConfig: `{"loadBalancingPolicy":"pick_first"}`, MaxConcurrentStreams: 7, ChannelPerSession: true,
	}
	third := bridge.Backend{Target: "c:1", Services: []string{"d."}, TLS: &bridge.BackendTLS{}, Profile: "fast", ReadyTimeout: 10 * time.Second, MaxConcurrentStreams: 1000}
	for name, test := range map[string]struct {
		env  map[string]string
		args []string
		want []bridge.Backend
	}{
		"file":        {nil, nil, []bridge.Backend{common, second}},
		"environment": {map[string]string{"POLLBRIDGE_BACKEND": `["main:1,main:2", {target: c:1, services: [d.], tls: true}]`}, nil, []bridge.Backend{common, third}},
		"flags":       {nil, []string{"--backend", "main:1,main:2", "--backend", "{target: c:1, services: d., tls: true}"}, []bridge.Backend{common, third}},
	} {
		s, err := load(t, file, test.env, test.args...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(s.Bridge.Backends, test.want) {
			t.Errorf("%s: got\n%+v\nwant\n%+v", name, s.Bridge.Backends, test.want)
		}
	}
	s, err := load(t, "", nil, "--backend-tls", "--backend", "{target: a:1, tls: false}")
	if err != nil || s.Bridge.Backends[0].TLS != nil {
		t.Errorf("a backend without TLS among those with: %+v, %v", s, err)
	}
	if _, err := load(t, "", nil, "--backend-ca", "cert.pem", "--backend", "{target: a:1, tls: true}"); err != nil {
		t.Errorf("a CA for the backend that uses TLS: %v", err)
	}
}

// TestBackends_shared: plain addresses for the same services are one backend, in
// every source.
func TestBackends_shared(t *testing.T) {
	want := map[string][]string{"a:1,b:1,c:1": {""}, "d:1,e:1": {"chat.", "shop."}, "a:1": {"solo."}}
	for name, test := range map[string]struct {
		file string
		env  map[string]string
		args []string
	}{
		"file":        {file: "backend: [a:1, chat.=d:1, 'b:1,c:1', chat.=e:1, 'shop.=d:1,e:1', solo.=a:1]\n"},
		"environment": {env: map[string]string{"POLLBRIDGE_BACKEND": "a:1,b:1,c:1,chat.=d:1,chat.=e:1,shop.=d:1,shop.=e:1,solo.=a:1"}},
		"flags": {args: []string{
			"--backend", "a:1", "--backend", "b:1", "--backend", "c:1", "--backend", "chat.=d:1", "--backend", "chat.=e:1",
			"--backend", "shop.=d:1", "--backend", "shop.=e:1", "--backend", "solo.=a:1",
		}},
	} {
		s, err := load(t, test.file, test.env, test.args...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := map[string][]string{}
		for _, b := range s.Bridge.Backends {
			got[b.Target] = b.Services
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestEmptyList tells a list that is empty from one that was not given.
func TestEmptyList(t *testing.T) {
	s, err := load(t, "backend: a:1\ndeny-method: []\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Bridge.DenyMethods == nil || len(s.Bridge.DenyMethods) != 0 {
		t.Errorf("deny-method %#v, want a list with nothing in it", s.Bridge.DenyMethods)
	}
}

// TestTable holds what the table promises: every default is a good value, and
// no two settings share a name.
func TestTable(t *testing.T) {
	seen := map[string]bool{"config": true}
	for _, o := range config.Options() {
		if seen[o.Name] {
			t.Errorf("%s stands twice in the table", o.Name)
		}
		seen[o.Name] = true
		if o.Group == "" || o.Help == "" || (o.Value == "") != o.Switch {
			t.Errorf("%s lacks its group, help or value", o.Name)
		}
	}
	if _, err := load(t, "backend: a:1\n", nil); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

// FuzzFile holds that no file makes the reader crash, that every mistake names
// the file, and that no key is read twice.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"", "# nothing\n", "listen: :1\nbackend: [a:1, b=c:2]\n", "listen: &x :1\nadmin: *x\n", "a: b\na: b\n",
		"<<: {listen: :1}\n", "backend:\n- - a\n- {b: c}\n- ~\n", "---\n---\n", "\xff\xfe", "listen: [", "? [a]\n: b\n", "&a [*a]\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, errs := config.ParseFile("f.yaml", data)
		for _, err := range errs {
			if !strings.HasPrefix(err.Place, "f.yaml") || strings.HasSuffix(err.Place, ":0") || err.Text == "" {
				t.Errorf("no place or text: %q", err)
			}
		}
		for key, texts := range keys {
			if len(texts) == 0 || key == "" {
				t.Errorf("%q: %q", key, texts)
			}
		}
	})
}

func TestErrorPlaces(t *testing.T) {
	name := filepath.Join(t.TempDir(), "missing.yaml")
	if _, err := load(t, "", map[string]string{"POLLBRIDGE_CONFIG": name, "POLLBRIDGE_BACKEND": "a:1"}); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v, want an error that names the file of POLLBRIDGE_CONFIG", err)
	}
}

// TestDocs holds that docs/OPERATIONS.md gives each flag with its default.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../../../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range config.Options() {
		row := ""
		for line := range strings.Lines(strings.ReplaceAll(string(data), `\|`, "|")) {
			if cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | "); strings.Contains(cell+"`", "`--"+o.Name+strings.TrimRight(" "+o.Value, " ")+"`") {
				row = line
			}
		}
		if row == "" || !strings.Contains(row, "`"+o.Default+"`") && o.Default != "" {
			t.Errorf("docs/OPERATIONS.md: no row `--%s %s` with the default `%s`", o.Name, o.Value, o.Default)
		}
	}
}
