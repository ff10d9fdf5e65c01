package main

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/pemtest"
)

var transports = []string{"longpoll", "ws"}

func dial(t *testing.T, url string, cfg client.Config) *client.Channel {
	t.Helper()
	channel, err := client.New(url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { channel.Close() })
	return channel
}

// TestSecure holds that HTTPS carries polls over HTTP/2 and WSS over HTTP/1.1.
func TestSecure(t *testing.T) {
	dir := t.TempDir()
	roots := pemtest.Write(t, dir)
	p := start(t, "serve", "--listen", "localhost:0", "--backend", interopServer(t),
		"--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"))
	for _, transport := range transports {
		channel := dial(t, p.url, client.Config{Transports: []string{transport}, TLS: &tls.Config{RootCAs: roots}})
		if _, err := testgrpc.NewTestServiceClient(channel).EmptyCall(t.Context(), &testgrpc.Empty{}); err != nil {
			t.Errorf("%s: %v", transport, err)
		}
	}
	out, errOut, code := runOnce(t, "", "check", p.url, "--ca", filepath.Join(dir, "cert.pem"))
	if code != 0 || errOut != "" {
		t.Fatalf("exit code %d, standard error %q, standard output\n%s", code, errOut, out)
	}
	for _, want := range []string{"WARN  Reach ", "\nok    RPCs over long-polling ", "\nok    RPCs over WebSocket ", "\nWorks, over WebSocket and long-polling"} {
		if !strings.Contains(out, want) {
			t.Errorf("check lacks %q:\n%s", want, out)
		}
	}
}

// TestBackendTLS goes to a backend that asks for the bridge's certificate.
func TestBackendTLS(t *testing.T) {
	dir := t.TempDir()
	roots := pemtest.Write(t, dir)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	backend := interopServer(t, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	p := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", "grpc.testing.="+backend, "--backend-tls", "--backend-ca", cert,
		"--backend-cert", cert, "--backend-key", key, "--backend-server-name", "localhost")
	channel := dial(t, p.url, client.Config{})
	if _, err := testgrpc.NewTestServiceClient(channel).EmptyCall(t.Context(), &testgrpc.Empty{}); err != nil {
		t.Error(err)
	}
	err = channel.Invoke(t.Context(), "/elsewhere.Service/Method", &testgrpc.Empty{}, &testgrpc.Empty{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("a service that no backend has: %v", err)
	}
}

// TestCall calls methods of gRPC's test service by reflection, which only a
// bridge that allows it passes on.
func TestCall(t *testing.T) {
	backend := interopServer(t)
	open := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", backend, "--allow-method", "*", "--allow-method", "grpc.reflection.*")
	closed := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", backend)
	const service = "grpc.testing.TestService/"
	tests := []struct {
		name        string
		url         string
		args        []string
		stdin       string
		out, errOut string // errOut: part of it
		code        int
	}{
		{"unary", open.url, []string{service + "UnaryCall", "-d", `{"responseSize": 2}`}, "", `{"payload":{"body":"AAA="}}` + "\n", "", 0},
		{
			"server streaming",
			open.url,
			[]string{service + "StreamingOutputCall", "-d", `{"responseParameters": [{"size": 1}, {"size": 2}]}`}, "",
			`{"payload":{"body":"AA=="}}` + "\n" + `{"payload":{"body":"AAA="}}` + "\n", "", 0,
		},
		{"client streaming", open.url, []string{service + "StreamingInputCall", "-d", "-"}, `{"payload": {"body": "AAAA"}} {}`, `{"aggregatedPayloadSize":3}` + "\n", "", 0},
		{"bidi streaming", open.url, []string{service + "FullDuplexCall", "-d", `{"responseParameters": [{"size": 1}]}`}, "", `{"payload":{"body":"AA=="}}` + "\n", "", 0},
		{
			"status", open.url,
			[]string{service + "UnaryCall", "-d", `{"responseStatus": {"code": 5, "message": "gone"}}`}, "",
			"", "bridge call: NOT_FOUND: gone\n", 1,
		},
		{
			"metadata", open.url,
			[]string{service + "UnaryCall", "-v", "-H", "x-grpc-test-echo-initial: there", "-H", "x-grpc-test-echo-trailing-bin: AP8="}, "",
			`{"payload":{}}` + "\n", "header x-grpc-test-echo-initial: there\n", 0,
		},
		{"deadline", open.url, []string{service + "FullDuplexCall", "--max-time", "50ms", "-d", `{"responseParameters": [{"intervalUs": 60000000}]}`}, "", "", "DEADLINE_EXCEEDED", 1},
		{"no reflection", closed.url, []string{service + "EmptyCall"}, "", "", "give --descriptor-set FILE", 1},
		{"wrong field", open.url, []string{service + "EmptyCall", "-d", `{"a": 1}`}, "", "", `unknown field "a"`, 2},
		{"wrong transport", open.url, []string{service + "EmptyCall", "--transport", "udp"}, "", "", `bridge call: --transport: "udp" is wrong, want auto, ws or longpoll`, 2},
	}
	for _, test := range tests {
		for _, transport := range append(transports, "auto") {
			t.Run(test.name+"/"+transport, func(t *testing.T) {
				args := append([]string{"call", test.url, "--transport", transport, "--compact"}, test.args...)
				out, errOut, code := runOnce(t, test.stdin, args...)
				if out != test.out || !strings.Contains(errOut, test.errOut) || code != test.code {
					t.Errorf("exit code %d, standard output %q, standard error %q", code, out, errOut)
				}
			})
		}
	}
}

// TestCallCancelled holds that a signal cancels the RPC, at the backend too.
func TestCallCancelled(t *testing.T) {
	p := start(t, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json", "--backend", interopServer(t),
		"--allow-method", "*", "--allow-method", "grpc.reflection.*")
	cmd := program(t, "call", p.url, "grpc.testing.TestService/FullDuplexCall", "--compact", "-d", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errOut := newOutput()
	cmd.Stderr = errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	for range 2 { // each answer comes while the input is still open
		if _, err := io.WriteString(in, `{"responseParameters": [{"size": 1}]}`+"\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := out.ReadString('\n'); line != `{"payload":{"body":"AA=="}}`+"\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, cmd.Wait()); code != exitFailed || !strings.HasPrefix(errOut.String(), "bridge call: CANCELLED") {
		t.Errorf("exit code %d, standard error %q", code, errOut)
	}
	admin := adminURL(t, p)
	for {
		_, body := get(t, http.DefaultClient, admin+"/metrics")
		if strings.Contains(body, "\npollbridge_streams{protocol=\"session\"} 0\n") {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("the RPC is still open at the bridge")
		}
	}
}

// TestAdmin holds what the admin listener serves, and that only it does.
func TestAdmin(t *testing.T) {
	for _, test := range []struct {
		name, backend string
		ready         int
	}{{"backend there", interopServer(t), http.StatusOK}, {"backend gone", nowhere, http.StatusServiceUnavailable}} {
		t.Run(test.name, func(t *testing.T) {
			p := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", test.backend, "--admin", "127.0.0.1:0", "--log-format", "json")
			admin := adminURL(t, p)
			if resp, _ := get(t, http.DefaultClient, admin+"/healthz"); resp.StatusCode != http.StatusOK {
				t.Errorf("/healthz: %s", resp.Status)
			}
			awaitReady(t, admin, test.ready)
			resp, body := get(t, http.DefaultClient, admin+"/metrics")
			if resp.StatusCode != http.StatusOK || !strings.Contains(body, "\npollbridge_") {
				t.Errorf("/metrics: %s\n%s", resp.Status, body)
			}
			for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
				if resp, _ := get(t, http.DefaultClient, p.url+path); resp.StatusCode != http.StatusNotFound {
					t.Errorf("public %s: %s", path, resp.Status)
				}
			}
		})
	}
}

// adminURL reads the admin listener's URL from the log.
func adminURL(t *testing.T, p *process) string {
	t.Helper()
	url, _, _ := strings.Cut(p.err.await(t, `"msg":"admin listening","url":"`), `"`)
	return url
}

// awaitReady asks /readyz until it says so: backends are dialled meanwhile.
func awaitReady(t *testing.T, admin string, status int) {
	t.Helper()
	for {
		resp, _ := get(t, http.DefaultClient, admin+"/readyz")
		if resp.StatusCode == status {
			return
		}
		if t.Context().Err() != nil {
			t.Fatalf("/readyz stays %s", resp.Status)
		}
	}
}

// TestDrain holds what a signal does while an RPC is open on each transport.
func TestDrain(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			t.Run("in time", func(t *testing.T) { t.Parallel(); testDrainInTime(t, transport) })
			t.Run("over time", func(t *testing.T) { t.Parallel(); testDrainOverTime(t, transport) })
			t.Run("second signal", func(t *testing.T) { t.Parallel(); testSecondSignal(t, transport) })
		})
	}
}

// draining starts a bridge with an RPC open, and drains it.
func draining(t *testing.T, transport string, args ...string) (*process, grpc.BidiStreamingClient[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse]) {
	t.Helper()
	args = append([]string{"serve", "--listen", "127.0.0.1:0", "--backend", interopServer(t), "--admin", "127.0.0.1:0", "--log-format", "json"}, args...)
	p := start(t, args...)
	channel := dial(t, p.url, client.Config{Transports: []string{transport}})
	stream, err := testgrpc.NewTestServiceClient(channel).FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pingPong(t, stream)
	admin := adminURL(t, p)
	awaitReady(t, admin, http.StatusOK)
	p.signal(syscall.SIGTERM)
	awaitReady(t, admin, http.StatusServiceUnavailable)
	return p, stream
}

// pingPong sends a message and takes its answer.
func pingPong(t *testing.T, stream grpc.BidiStreamingClient[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse]) {
	t.Helper()
	request := &testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: 7}}}
	if err := stream.Send(request); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(answer.GetPayload().GetBody()); n != 7 {
		t.Fatalf("got %d bytes, want 7", n)
	}
}

func testDrainInTime(t *testing.T, transport string) {
	p, stream := draining(t, transport, "--drain-timeout", "10m")
	pingPong(t, stream)
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("the RPC ended with %v", err)
	}
	if _, code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func testDrainOverTime(t *testing.T, transport string) {
	p, stream := draining(t, transport, "--drain-timeout", "500ms")
	_, err := stream.Recv()
	if want := " ended it: the bridge is shutting down; the RPC may have run"; status.Code(err) != codes.Unavailable || !strings.HasSuffix(status.Convert(err).Message(), want) {
		t.Errorf("the RPC ended with %v, want UNAVAILABLE: %s", err, want)
	}
	if _, code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func testSecondSignal(t *testing.T, transport string) {
	p, _ := draining(t, transport, "--drain-timeout", "10m")
	p.signal(syscall.SIGINT)
	if _, code := p.wait(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
}
