package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/auth/oidctest"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// echoServer is a backend that tells which metadata it got.
func echoServer(t *testing.T) string {
	t.Helper()
	svc, err := testsvc.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(svc.Stop)
	return svc.Addr
}

// reflected makes an RPC, and returns the values that the backend saw of the keys.
func reflected(ctx context.Context, cc grpc.ClientConnInterface, keys ...string) (map[string][]string, error) {
	reply, err := echopb.NewEchoClient(cc).Unary(ctx, &echopb.Request{Script: &echopb.Script{Reflect: true}})
	seen := map[string][]string{}
	for _, pair := range reply.GetMetadata() {
		if slices.Contains(keys, pair.Key) {
			seen[pair.Key] = append(seen[pair.Key], string(pair.Value))
		}
	}
	return seen, err
}

func fixed(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// startJWT runs a bridge that wants tokens of an issuer.
func startJWT(t *testing.T, issuer *oidctest.Issuer, args ...string) *process {
	t.Helper()
	return start(t, append([]string{
		"serve", "--listen", "127.0.0.1:0", "--backend", echoServer(t), "--admin", "127.0.0.1:0", "--log-format", "json",
		"--jwt-jwks", issuer.JWKS(), "--jwt-issuer", issuer.URL, "--jwt-audience", oidctest.Audience,
	}, args...)...)
}

// TestJWT_refused holds that no RPC runs without a good token, on either
// transport, and what the caller and the metrics are told.
func TestJWT_refused(t *testing.T) {
	issuer := oidctest.New(t)
	p := startJWT(t, issuer)
	elsewhere := issuer.Claims("ann", time.Hour)
	elsewhere["aud"] = "https://elsewhere.example"
	for _, transport := range transports {
		for token, want := range map[string]string{
			"":                                      "a token is needed",
			"nonsense":                              "the token is malformed",
			strings.Repeat("x", 100_000):            "the token is too long",
			issuer.Token("ann", -time.Hour):         "the token has expired",
			issuer.Sign(elsewhere, issuer.Key()):    "the token is for another audience",
			oidctest.New(t).Token("ann", time.Hour): "the token's signature or algorithm is not accepted",
		} {
			channel := dial(t, p.url, client.Config{Transports: []string{transport}, Token: fixed(token)})
			_, err := reflected(t.Context(), channel)
			if got := status.Convert(err); got.Code() != codes.Unauthenticated || !strings.Contains(got.Message(), want) {
				t.Errorf("%s: %.20q: got %v, want UNAUTHENTICATED: %s", transport, token, err, want)
			}
			channel.Close()
		}
	}
	if strings.Contains(p.err.String(), issuer.Token("ann", -time.Hour)[:40]) {
		t.Error("a token is in the log")
	}
	_, text := get(t, http.DefaultClient, adminURL(t, p)+"/metrics")
	for _, line := range []string{"pollbridge_jwks_keys 1\n", `pollbridge_jwks_reads_total{result="ok"} `, `pollbridge_authentications_total{result="ok"} 0` + "\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("metrics lack %s", line)
		}
	}
}

// TestJWT_claims holds that a claim reaches the backend, that a page cannot set
// its key, whether the token has the claim or not, and which methods it allows.
func TestJWT_claims(t *testing.T) {
	issuer := oidctest.New(t)
	p := startJWT(t, issuer, "--jwt-claim-to-metadata", "sub=x-user", "--jwt-claim-to-metadata", "email=x-email",
		"--jwt-allow-method", "scope=echo:pollbridge.test.v1.Echo/Unary")
	forged := metadata.AppendToOutgoingContext(t.Context(), "x-user", "root", "X-Email", "root@x.example", "x-email-bin", "kept", "x-own", "kept")
	for _, transport := range transports {
		claims := issuer.Claims("ann", time.Hour)
		claims["scope"] = "openid echo"
		channel := dial(t, p.url, client.Config{Transports: []string{transport}, Token: fixed(issuer.Sign(claims, issuer.Key()))})
		seen, err := reflected(forged, channel, "x-user", "x-email", "x-own")
		if err != nil || !slices.Equal(seen["x-user"], []string{"ann"}) || seen["x-email"] != nil || !slices.Equal(seen["x-own"], []string{"kept"}) {
			t.Errorf("%s: backend saw %q, %v", transport, seen, err)
		}
		stream, err := echopb.NewEchoClient(channel).ServerStream(t.Context(), &echopb.Request{})
		if err == nil {
			_, err = stream.Recv()
		}
		if got := status.Convert(err); got.Code() != codes.PermissionDenied || !strings.Contains(got.Message(), "/pollbridge.test.v1.Echo/ServerStream") {
			t.Errorf("%s: a method that the token does not allow: %v", transport, err)
		}
		channel = dial(t, p.url, client.Config{Transports: []string{transport}, Token: fixed(issuer.Token("bob", time.Hour))})
		if _, err := reflected(t.Context(), channel); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: a token without the claim: %v", transport, err)
		}
	}
}

// TestJWT_header holds that a token may come in Authorization.
func TestJWT_header(t *testing.T) {
	issuer := oidctest.New(t)
	p := startJWT(t, issuer, "--jwt-claim-to-metadata", "sub=x-user")
	for _, transport := range transports {
		channel := dial(t, p.url, client.Config{Transports: []string{transport}, Header: http.Header{"Authorization": {"Bearer " + issuer.Token("ann", time.Hour)}}})
		if seen, err := reflected(t.Context(), channel, "x-user"); err != nil || !slices.Equal(seen["x-user"], []string{"ann"}) {
			t.Errorf("%s: backend saw %q, %v", transport, seen, err)
		}
	}
}

// TestJWT_rpc holds that RPCs without a session are each asked for a token.
func TestJWT_rpc(t *testing.T) {
	issuer := oidctest.New(t)
	p := startJWT(t, issuer, "--rpc", "--jwt-claim-to-metadata", "sub=x-user")
	for authorization, want := range map[string]int{
		"": http.StatusUnauthorized, "Bearer " + issuer.Token("ann", -time.Hour): http.StatusUnauthorized, "Bearer " + issuer.Token("ann", time.Hour): http.StatusOK,
	} {
		body, err := proto.Marshal(&echopb.Request{Script: &echopb.Script{Reflect: true}})
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+echopb.Echo_Unary_FullMethodName, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/proto")
		request.Header.Set("X-User", "root")
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		resp, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%.20q: %s: %s", authorization, resp.Status, text)
		}
		if want != http.StatusOK {
			continue
		}
		reply := new(echopb.Reply)
		if err := proto.Unmarshal(text, reply); err != nil {
			t.Fatal(err)
		}
		var users []string
		for _, pair := range reply.Metadata {
			if pair.Key == "x-user" {
				users = append(users, string(pair.Value))
			}
		}
		if !slices.Equal(users, []string{"ann"}) {
			t.Errorf("backend saw x-user %q", users)
		}
	}
}

// TestJWT_expiry holds what a token that expires in the middle of a stream ends:
// no RPC that runs, but new ones until the client sent another one, in the same
// session and of the same subject.
func TestJWT_expiry(t *testing.T) {
	issuer := oidctest.New(t)
	p := startJWT(t, issuer, "--jwt-claim-to-metadata", "sub=x-user", "--jwt-claim-to-metadata", "jti=x-token")
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			const life = 2 * time.Second
			tokens := []string{"first", "second"}
			var mu sync.Mutex
			asked := 0
			source := func(context.Context) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				claims := issuer.Claims("ann", life)
				claims["jti"] = tokens[min(asked, 1)]
				if asked > 0 {
					claims["exp"] = time.Now().Add(time.Hour).Unix()
				}
				asked++
				return issuer.Sign(claims, issuer.Key()), nil
			}
			channel := dial(t, p.url, client.Config{Transports: []string{transport}, Token: source})
			stream, err := echopb.NewEchoClient(channel).Bidi(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			exchange := func(n uint64) {
				t.Helper()
				if err := stream.Send(testsvc.Request(n, 10)); err != nil {
					t.Fatal(err)
				}
				reply, err := stream.Recv()
				if err != nil {
					t.Fatal(err)
				}
				if err := testsvc.Check(reply, n, 10); err != nil {
					t.Error(err)
				}
			}
			exchange(1)
			if seen, err := reflected(t.Context(), channel, "x-token"); err != nil || !slices.Equal(seen["x-token"], []string{"first"}) {
				t.Fatalf("before: %q, %v", seen, err)
			}
			time.Sleep(life) // the expiry of a process: no virtual time
			exchange(2)
			if _, err := reflected(t.Context(), channel); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "the token has expired") {
				t.Fatalf("the first RPC after it: %v", err)
			}
			seen, err := reflected(t.Context(), channel, "x-token")
			if err != nil || !slices.Equal(seen["x-token"], []string{"second"}) {
				t.Fatalf("after: %q, %v", seen, err)
			}
			exchange(3)
			if asked != 2 {
				t.Errorf("the token was asked for %d times, want 2", asked)
			}
		})
	}
	_, text := get(t, http.DefaultClient, adminURL(t, p)+"/metrics")
	if !strings.Contains(text, "pollbridge_sessions_opened_total 2\n") {
		t.Error("a token was refreshed by a session of its own")
	}
}

// TestJWT_rotation holds that a key that the issuer makes later counts without a
// restart, and that the issuer may then be out of reach.
func TestJWT_rotation(t *testing.T) {
	issuer := oidctest.New(t)
	p := startJWT(t, issuer)
	call := func(token string) error {
		channel := dial(t, p.url, client.Config{Token: fixed(token)})
		defer channel.Close()
		_, err := reflected(t.Context(), channel)
		return err
	}
	if err := call(issuer.Token("ann", time.Hour)); err != nil {
		t.Fatal(err)
	}
	issuer.Down(true)
	if err := call(issuer.Token("bob", time.Hour)); err != nil {
		t.Errorf("while the issuer is down: %v", err)
	}
}

// TestForwardAuth holds that a URL decides who is admitted, and what of its
// answer reaches the backend.
func TestForwardAuth(t *testing.T) {
	verify := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer user-")
		if !ok {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Remote-User", name)
		w.Header().Set("Remote-Groups", "staff")
	}))
	defer verify.Close()
	p := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", echoServer(t), "--forward-auth", verify.URL,
		"--forward-auth-response-header", "Remote-User", "--forward-auth-response-header", "Remote-Groups", "--forward-auth-response-header", "Remote-Email")
	forged := metadata.AppendToOutgoingContext(t.Context(), "remote-user", "root", "remote-email", "root@x.example")
	for _, transport := range transports {
		channel := dial(t, p.url, client.Config{Transports: []string{transport}, Token: fixed("user-ann")})
		seen, err := reflected(forged, channel, "remote-user", "remote-groups", "remote-email")
		if err != nil || !slices.Equal(seen["remote-user"], []string{"ann"}) || !slices.Equal(seen["remote-groups"], []string{"staff"}) || seen["remote-email"] != nil {
			t.Errorf("%s: backend saw %q, %v", transport, seen, err)
		}
		channel = dial(t, p.url, client.Config{Transports: []string{transport}, Token: fixed("eve")})
		if _, err := reflected(forged, channel); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "not admitted (403)") {
			t.Errorf("%s: a client that is not admitted: %v", transport, err)
		}
	}
	p.signal(syscall.SIGTERM)
	if _, code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
