// Package archtest holds the house rules that a machine can check: who may
// import whom, how long a file may be, and that the docs name what exists.
package archtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pollbridge/pollbridge"

// A rule says what the packages at and under a path of this module may import
// outside their tests. In own, packages of this module ("x/..." is x and what
// lies below, as in go list); in others, packages from outside and what lies
// below; in not, those of the standard library that they may not.
type rule struct {
	path   string
	own    []string
	others []string
	not    []string
}

const (
	echo       = "github.com/labstack/echo/v4"
	websocket  = "github.com/coder/websocket"
	unix       = "golang.org/x/sys/unix"
	grpc       = "google.golang.org/grpc"
	protobuf   = "google.golang.org/protobuf"
	rpcstatus  = "google.golang.org/genproto/googleapis/rpc"
	cobra      = "github.com/spf13/cobra"
	pflag      = "github.com/spf13/pflag"
	yaml       = "go.yaml.in/yaml/v3"
	memlimit   = "github.com/KimMachineGun/automemlimit/memlimit"
	systemd    = "github.com/coreos/go-systemd/v22/activation"
	socks      = "golang.org/x/net/proxy"
	metrics    = "github.com/prometheus/client_golang"
	connect    = "connectrpc.com/connect/v2"
	jwt        = "github.com/golang-jwt/jwt/v5"
	jwks       = "github.com/MicahParks"
	otel       = "go.opentelemetry.io"
	ratelimit  = "golang.org/x/time/rate"
	natsgo     = "github.com/nats-io/nats.go"
	natsserver = "github.com/nats-io/nats-server/v2"
	http2      = "golang.org/x/net/http2"
)

// rules is the table of docs/ARCHITECTURE.md. The longest path that fits a
// package counts; a package with no rule is an error.
var rules = []rule{
	{path: "transport"},
	{path: "transport/access", own: []string{"internal/httpwrite", "internal/ratelog"}},
	{path: "transport/longpoll", own: []string{"transport", "transport/access", "internal/httpwrite", "internal/park"}},
	{path: "transport/ws", own: []string{"transport", "transport/access", "internal/httpwrite", "internal/park", "internal/wsframe"}, others: []string{websocket, unix}},
	{path: "internal/transporttest", own: []string{"transport/...", "internal/..."}, others: []string{websocket}},
	{
		path: "internal/wire", others: []string{protobuf + "/encoding/protowire"},
		not: []string{"context", "log", "net", "os", "sync"},
	},
	{path: "internal/wire/wirepb", others: []string{protobuf}},
	{path: "internal/tune", not: []string{"context", "log", "net", "os", "sync"}},
	{path: "internal/message"},
	{path: "internal/engine", own: []string{"transport", "internal/message", "internal/tune", "internal/wire"}, not: []string{"net/http", "os"}},
	{path: "internal/registry", own: []string{"transport", "internal/engine", "internal/ratelog", "internal/tune", "internal/wire"}, others: []string{ratelimit}, not: []string{"net/http", "os"}},
	{path: "internal/cluster", own: []string{"transport", "internal/wire", "internal/cluster/clusterpb"}, others: []string{natsgo, protobuf + "/proto"}},
	{path: "internal/cluster/clusterpb", others: []string{protobuf}},
	{path: "internal/cluster/clustertest", own: []string{"internal/cluster"}},
	{
		path: "internal/dialer", own: []string{"transport", "internal/engine", "internal/tune", "internal/wire"},
		not: []string{"net/http", "os"},
	},
	{path: "internal/enginetest", own: []string{"internal/dialer", "internal/registry", "internal/simnet", "transport"}},
	{path: "internal/httpwrite"},
	{path: "internal/admin", own: []string{"internal/httpwrite", "internal/look", "internal/ratelog", "transport/access"}},
	{path: "internal/wsframe"},
	{path: "internal/ratelog"},
	{path: "internal/replay"},
	{path: "internal/front", own: []string{"internal/replay"}, others: []string{http2}},
	{path: "internal/park", own: []string{"transport", "internal/replay"}, others: []string{unix}},
	{path: "internal/backend", own: []string{"internal/message"}, others: []string{grpc, protobuf, rpcstatus}, not: []string{"net/http"}},
	{path: "internal/schema", others: []string{grpc, protobuf, rpcstatus}, not: []string{"net/http"}},
	{path: "internal/rpc", own: []string{"transport/access", "internal/schema", "internal/httpwrite", "internal/wire"}, others: []string{connect, protobuf, rpcstatus, grpc}},
	{
		path: "bridge",
		own: []string{
			"transport", "transport/access", "transport/longpoll", "transport/ws",
			"internal/admin", "internal/cluster", "internal/engine", "internal/registry", "internal/backend", "internal/front", "internal/httpwrite", "internal/park", "internal/ratelog", "internal/rpc", "internal/schema", "internal/wire", "internal/look", "internal/netcheck/...", "jsclient",
		},
		others: []string{echo, grpc, protobuf, rpcstatus, metrics, otel, natsgo},
	},
	{
		path:   "client",
		own:    []string{"transport", "internal/dialer", "internal/engine", "internal/wire", "internal/wsframe", "internal/httpclient"},
		others: []string{websocket, grpc, protobuf, rpcstatus},
	},
	{path: "client/connecttransport", others: []string{connect, grpc}},
	{path: "jsclient"},
	{
		path:   "cmd/bridge",
		own:    []string{"bridge", "client", "internal/admin", "internal/schema", "internal/auth/...", "internal/telemetry", "internal/demo/...", "internal/httpclient", "internal/httpwrite", "internal/look", "internal/netcheck/...", "internal/ratelog", "internal/wire", "cmd/bridge/..."},
		others: []string{echo, grpc, protobuf, rpcstatus, cobra, pflag, yaml, memlimit, metrics, natsgo, systemd, unix},
	},
	{path: "internal/telemetry", others: []string{otel, metrics}},
	{path: "internal/auth/jwtauth", own: []string{"bridge"}, others: []string{jwt, jwks, grpc, metrics}},
	{path: "internal/auth/forwardauth", own: []string{"bridge"}, others: []string{grpc}},
	{path: "internal/auth/oidctest", others: []string{jwt, jwks}},
	{path: "internal/httpclient", others: []string{socks}},
	{path: "internal/netcheck"},
	{
		path: "internal/netcheck/probe", own: []string{"client", "internal/netcheck", "internal/httpclient"},
		others: []string{websocket, grpc, protobuf},
	},
	{
		path: "internal/netcheck/answer", own: []string{"internal/httpwrite", "internal/netcheck", "transport/access"},
		others: []string{websocket, grpc, protobuf},
	},
	{path: "internal/netcheck/page", own: []string{"internal/look"}},
	{path: "internal/look"},
	{path: "internal/demo", own: []string{"internal/demo/...", "internal/look"}, others: []string{grpc, protobuf}},
	{path: "internal/testsvc", own: []string{"internal/testsvc/..."}, others: []string{grpc, protobuf}},
	{path: "internal/simnet"},
	{path: "internal/middlebox"},
	{path: "internal/archtest"},
	{path: "internal/model"},
	{path: "internal/cmd", own: []string{"bridge", "internal/..."}, others: []string{grpc, protobuf, natsgo, natsserver}},
	{path: "examples", own: []string{"bridge", "client", "examples/..."}, others: []string{echo, grpc, protobuf}},
	{path: "e2e", own: []string{"bridge", "client", "internal/..."}, others: []string{grpc, protobuf}},
	{path: "conformance", own: []string{"bridge", "client", "conformance/...", "internal/middlebox"}, others: []string{grpc, protobuf}},
}

// testsOnly lists packages that only tests import.
var testsOnly = []string{"internal/auth/oidctest", "internal/wire/wirepb", "internal/testsvc", "internal/cluster/clustertest", "internal/enginetest", "internal/simnet", "internal/middlebox", "internal/transporttest", "internal/transporttest/fake"}

// testCode lists packages that serve tests alone.
var testCode = []string{"e2e", "conformance", "internal/cmd"}

func TestImports(t *testing.T) {
	for _, p := range goList(t) {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		r, ok := ruleOf(path)
		if !ok {
			t.Errorf("%s: no rule; add one to the table", path)
			continue
		}
		for _, imported := range p.Imports {
			if why := r.refuses(path, imported); why != "" {
				t.Errorf("%s imports %s: %s", path, imported, why)
			}
		}
	}
}

// TestRules holds the table itself to account with imports that were planted.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		path, imported string
		refused        bool
	}{
		{"internal/engine", "net/http", true},
		{"internal/engine", module + "/internal/wire", false},
		{"internal/engine", module + "/internal/registry", true},
		{"internal/registry", grpc, true},
		{"internal/registry", module + "/internal/dialer", true},
		{"internal/dialer", module + "/internal/registry", true},
		{"internal/dialer", module + "/internal/engine", false},
		{"internal/tune", "sync", true},
		{"internal/tune", module + "/internal/wire", true},
		{"internal/wire", "log/slog", true},
		{"internal/wire", "hash/crc32", false},
		{"internal/wire", protobuf + "/proto", true},
		{"transport", websocket, true},
		{"transport/ws", module + "/internal/wire", true},
		{"transport/ws", module + "/transport", false},
		{"transport/longpoll", module + "/transport/ws", true},
		{"transport/longpoll", echo, true},
		{"internal/backend", module + "/internal/engine", true},
		{"bridge", echo + "/middleware", false},
		{"bridge", module + "/client", true},
		{"cmd/bridge", module + "/internal/engine", true},
		{"cmd/bridge", module + "/internal/testsvc", true},
		{"client", module + "/bridge", true},
		{"e2e", module + "/internal/testsvc", false},
	} {
		r, _ := ruleOf(c.path)
		if why := r.refuses(c.path, c.imported); (why != "") != c.refused {
			t.Errorf("%s importing %s: refused = %q, want refused: %v", c.path, c.imported, why, c.refused)
		}
	}
}

func ruleOf(path string) (best rule, ok bool) {
	for _, r := range rules {
		if under(path, r.path) && len(r.path) >= len(best.path) {
			best, ok = r, true
		}
	}
	return best, ok
}

// refuses says why the package at path may not import the other one, or "".
func (r rule) refuses(path, imported string) string {
	own, isOwn := strings.CutPrefix(imported, module+"/")
	switch {
	case isOwn && !slices.ContainsFunc(r.own, func(pattern string) bool { return fits(own, pattern) }):
		return "not among its imports of this module"
	case isOwn && covered(own, testsOnly) && !covered(path, testsOnly) && !covered(path, testCode):
		return "for tests only"
	case isOwn:
		return ""
	case covered(imported, r.others):
		return ""
	case strings.Contains(strings.Split(imported, "/")[0], "."):
		return "not among its imports from outside"
	case covered(imported, r.not):
		return "not for this package"
	}
	return ""
}

// fits matches a package with a pattern: itself, or "x/..." for x and below.
func fits(path, pattern string) bool {
	dir, below := strings.CutSuffix(pattern, "/...")
	return path == dir || below && under(path, dir)
}

func covered(path string, by []string) bool {
	return slices.ContainsFunc(by, func(p string) bool { return under(path, p) })
}

func under(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func goList(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var list []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			t.Fatalf("go list: %v", err)
		}
		list = append(list, p)
	}
}
