package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/admin"
)

const operatorsToken = "a-token-of-operators"

// operated is a bridge with an admin listener that has a token.
type operated struct {
	*process
	admin     string
	tokenFile string
}

func startOperated(t *testing.T, args ...string) operated {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(operatorsToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--admin-token-file", file, "--log-format", "json"}, args...)...)
	return operated{p, adminURL(t, p), file}
}

// operate runs a command with the token.
func (o operated) operate(args ...string) (stdout, stderr string, code int) {
	o.t.Helper()
	return runOnce(o.t, "", append(args, "--admin", strings.TrimPrefix(o.admin, "http://"), "--admin-token-file", o.tokenFile)...)
}

// TestOperate holds what operators see of a session, and that kick ends just that
// one, whose client goes on.
func TestOperate(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			o := startOperated(t, "--backend", interopServer(t))
			channel := dial(t, o.url, client.Config{Transports: []string{transport}})
			stream, err := testgrpc.NewTestServiceClient(channel).FullDuplexCall(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			pingPong(t, stream)

			out, errOut, code := o.operate("sessions", "--json")
			var list admin.Sessions
			if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list.Sessions) != 1 {
				t.Fatalf("exit code %d, %s%s", code, out, errOut)
			}
			s := list.Sessions[0]
			if s.Transport != transport || s.Principal != "127.0.0.1" || s.RPCs != 1 || s.SentBytes == 0 || s.ReceivedBytes == 0 || !strings.HasPrefix(s.Client, "pollbridge-go/") {
				t.Errorf("%+v", s)
			}
			out, _, code = o.operate("sessions", "--filter", "127.0.0.1", "--transport", transport)
			if want := `(?m)^SESSION +TRANSPORT .*\n` + regexp.QuoteMeta(s.ID) + ` +` + transport + ` .* 127\.0\.0\.1\n$`; code != 0 || !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("exit code %d, %s", code, out)
			}
			if out, _, code = o.operate("sessions", "--filter", "nobody"); code != 0 || !strings.HasSuffix(out, "\n0 to 0 of 0 that match, of 1 sessions\n") {
				t.Errorf("exit code %d, %s", code, out)
			}
			out, _, code = o.operate("session", s.ID)
			for _, want := range []string{"principal +127.0.0.1", "RPCs +1 open, 1 in all", "1 +[0-9]+s +/grpc.testing.TestService/FullDuplexCall", "opened", "carried by " + transport} {
				if !regexp.MustCompile(want).MatchString(out) || code != 0 {
					t.Errorf("exit code %d, lacks %s:\n%s", code, want, out)
				}
			}

			out, errOut, code = o.operate("kick", s.ID, "nobody")
			if code != exitFailed || out != "disconnected "+s.ID+"\n" || !strings.Contains(errOut, `no session "nobody"`) {
				t.Errorf("exit code %d, %q, %q", code, out, errOut)
			}
			_, err = stream.Recv()
			if want := " ended it: disconnected by an operator; the RPC may have run"; status.Code(err) != codes.Unavailable || !strings.HasSuffix(status.Convert(err).Message(), want) {
				t.Errorf("the RPC ended with %v, want UNAVAILABLE: %s", err, want)
			}
			if _, err := testgrpc.NewTestServiceClient(channel).EmptyCall(t.Context(), &testgrpc.Empty{}); err != nil {
				t.Errorf("the client does not go on: %v", err)
			}
			if _, errOut, code = o.operate("session", s.ID); code != exitFailed || !strings.Contains(errOut, "is over: disconnected: disconnected by an operator") {
				t.Errorf("exit code %d, %q", code, errOut)
			}
			for _, want := range []string{`"msg":"admin request","action":"disconnect"`} {
				if !strings.Contains(o.err.String(), want) {
					t.Errorf("the log lacks %s", want)
				}
			}
		})
	}
}

// TestOperate_drain holds that a drain that an operator asked for is that of
// SIGTERM.
func TestOperate_drain(t *testing.T) {
	o := startOperated(t, "--backend", interopServer(t), "--drain-timeout", "10m")
	channel := dial(t, o.url, client.Config{})
	stream, err := testgrpc.NewTestServiceClient(channel).FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pingPong(t, stream)
	awaitReady(t, o.admin, http.StatusOK)
	waited := make(chan string, 1)
	go func() {
		out, errOut, code := o.operate("drain", "--wait")
		waited <- fmt.Sprint(code, " ", out, errOut)
	}()
	awaitReady(t, o.admin, http.StatusServiceUnavailable)
	pingPong(t, stream)
	if _, _, code := o.operate("drain"); code != 0 {
		t.Errorf("a second request: exit code %d", code)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, code := o.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got, want := <-waited, "0 draining, with 1 sessions and 1 RPCs open\n"; got != want {
		t.Errorf("drain --wait: %q, want %q", got, want)
	}
	if log := o.err.String(); !strings.Contains(log, `"msg":"draining","signal":"admin request"`) || !strings.Contains(log, `"msg":"drained"`) {
		t.Error("the log does not tell of the drain")
	}
}

// TestOperate_refused holds what an operator is told who may not.
func TestOperate_refused(t *testing.T) {
	o := startOperated(t, "--backend", nowhere)
	addr := strings.TrimPrefix(o.admin, "http://")
	open := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", nowhere, "--admin", "127.0.0.1:0", "--log-format", "json")
	openAddr := strings.TrimPrefix(adminURL(t, open), "http://")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"sessions", "--admin", addr}, exitFailed, "want the admin token as Authorization: Bearer TOKEN; give --admin-token-file"},
		{[]string{"drain", "--admin", addr, "--admin-token", "another-token-than-it"}, exitFailed, "want the admin token"},
		{[]string{"drain", "--admin", openAddr}, exitFailed, "drain is not possible here: start the bridge with --admin-token-file"},
		{[]string{"kick", "x", "--admin", openAddr}, exitFailed, "disconnect is not possible here"},
		{[]string{"sessions", "--admin", openAddr, "--sort", "weight"}, exitFailed, `sort "weight" is wrong, want newest, age,`},
		{[]string{"sessions", "--admin", nowhere}, exitFailed, "admin listener at 127.0.0.1:9: dial tcp 127.0.0.1:9"},
		{[]string{"sessions", "--admin", o.url}, exitFailed, "404 Not Found"},
		{[]string{"sessions", "--admin", "9090"}, exitUsage, `--admin: "9090" is wrong, want HOST:PORT, unix:PATH or a URL`},
		{[]string{"sessions", "--admin", "ftp://x"}, exitUsage, `--admin: "ftp://x" is wrong`},
		{[]string{"sessions"}, exitUsage, "no --admin, want the address of a bridge's admin listener"},
		{[]string{"sessions", "--admin", addr, "--admin-token-file", "missing"}, exitUsage, "--admin-token-file: open missing"},
		{[]string{"session", "--admin", addr}, exitUsage, "no ID given, want ID"},
	} {
		if out, errOut, code := runOnce(t, "", tt.args...); code != tt.code || out != "" || !strings.Contains(errOut, tt.want) {
			t.Errorf("%v: exit code %d, %q, %q; want %d, %s", tt.args, code, out, errOut, tt.code, tt.want)
		}
	}
	if resp, _ := get(t, http.DefaultClient, o.url+"/api/v1/overview"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("the public listener: %s", resp.Status)
	}
	if log := o.err.String(); !strings.Contains(log, `"msg":"admin request refused"`) || strings.Contains(log, operatorsToken) || strings.Contains(log, "another-token") {
		t.Error("the log does not tell of it, or has a token")
	}
}

// TestOperate_environment holds that the commands find what the environment of
// "bridge serve" says, and that a Unix socket does.
func TestOperate_environment(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin")
	p := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", nowhere, "--admin", "unix:"+socket, "--admin-token", operatorsToken, "--log-format", "json")
	p.err.await(t, `"msg":"admin listening"`)
	t.Setenv("POLLBRIDGE_ADMIN", "unix:"+socket)
	t.Setenv("POLLBRIDGE_ADMIN_TOKEN", operatorsToken)
	var out, errOut bytes.Buffer
	if code := run([]string{"sessions", "--json"}, nil, &out, &errOut); code != 0 || !strings.Contains(out.String(), `"total": 0`) {
		t.Errorf("exit code %d, %q, %q", code, out.String(), errOut.String())
	}
}

// TestAdminProfiles holds that profiles are there when asked for, for who has the
// token.
func TestAdminProfiles(t *testing.T) {
	o := startOperated(t, "--backend", nowhere)
	profiled := startOperated(t, "--backend", nowhere, "--admin-pprof")
	for _, tt := range []struct {
		admin, token string
		status       int
	}{
		{o.admin, operatorsToken, http.StatusNotFound},
		{profiled.admin, "", http.StatusUnauthorized},
		{profiled.admin, operatorsToken, http.StatusOK},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.admin+"/debug/pprof/goroutine?debug=1", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+tt.token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != tt.status {
			t.Errorf("%+v: %s", tt, response.Status)
		}
	}
	_, list := get(t, http.DefaultClient, profiled.admin+"/")
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/api/v1/sessions", "/debug/pprof/"} {
		if !strings.Contains(list, "\n"+path) {
			t.Errorf("/ does not list %s:\n%s", path, list)
		}
	}
}
