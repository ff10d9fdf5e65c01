package bridge_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// listen serves a bridge, as any handler, to clients without a session, with and
// without TLS.
func listen(t *testing.T, srv http.Handler) (plain, secure *httptest.Server) {
	t.Helper()
	plain, secure = httptest.NewUnstartedServer(srv), httptest.NewUnstartedServer(srv)
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetHTTP1(true)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	return plain, secure
}

// serve has a bridge serve clients without a session itself, with and without TLS.
// Requests that net/http gets are handled by h.
func serve(t *testing.T, srv *bridge.Server, h http.Handler) (plain, secure net.Listener) {
	t.Helper()
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	certified.Close()
	open := func(cfg *tls.Config) net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: h, TLSConfig: cfg, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute}
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetHTTP2(true)
		server.Protocols.SetUnencryptedHTTP2(true)
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve(server, l) }()
		t.Cleanup(func() {
			server.Close()
			if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
		return l
	}
	return open(nil), open(&tls.Config{Certificates: certified.TLS.Certificates, MinVersion: tls.VersionTLS12})
}

// bridgeOf is a bridge that is shut down with the test.
func bridgeOf(t *testing.T, cfg bridge.Config) *bridge.Server {
	t.Helper()
	srv, err := bridge.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return srv
}

// outcome is what a client is told of an RPC.
type outcome struct {
	replies         []*echopb.Reply
	header, trailer map[string][]string // keys in lower case
	code            codes.Code
	message         string
	details         []string // names of types
}

// rpcClient makes an RPC with some library that has no sessions: it sends all
// requests, and then takes what comes.
type rpcClient func(ctx context.Context, method string, requests ...*echopb.Request) outcome

// rpcClients are those of connect-go and grpc-go, over all of HTTP that each has, and
// of a bridge that is a handler as of one that serves.
func rpcClients(t *testing.T, srv *bridge.Server) map[string]rpcClient {
	t.Helper()
	plain, secure := listen(t, srv)
	served, servedTLS := serve(t, srv, srv)
	insecureTLS := secure.Client().Transport.(*http.Transport).Clone()
	insecureTLS.TLSClientConfig.NextProtos = []string{"h2"} // as clients of gRPC
	t.Cleanup(insecureTLS.CloseIdleConnections)
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2c.CloseIdleConnections)
	clients := map[string]rpcClient{}
	for protocol, options := range map[string][]connecthttp.Option{
		"connect":      nil,
		"connect gzip": {connecthttp.WithSendGzip()},
		"grpcweb":      {connecthttp.WithGRPCWeb()},
		"grpc":         {connecthttp.WithGRPC()},
	} {
		for version, over := range map[string]struct {
			client *http.Client
			url    string
		}{"HTTP/1.1": {plain.Client(), plain.URL}, "h2c": {&http.Client{Transport: h2c}, plain.URL}, "h2": {secure.Client(), secure.URL},
			"h2c, served": {&http.Client{Transport: h2c}, "http://" + served.Addr().String()}, "h2, served": {&http.Client{Transport: insecureTLS}, "https://" + servedTLS.Addr().String()},
			"served HTTP/1.1": {plain.Client(), "http://" + served.Addr().String()},
		} {
			if protocol != "grpc" || !strings.HasSuffix(version, "HTTP/1.1") {
				clients[protocol+" over "+version] = connectClient(connecthttp.NewTransport(over.client, over.url, options...))
			}
		}
	}
	roots := secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	clients["grpc-go over h2c"] = grpcClient(t, plain.Listener.Addr().String(), insecure.NewCredentials())
	secured := credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	clients["grpc-go over h2"] = grpcClient(t, secure.Listener.Addr().String(), secured)
	clients["grpc-go over h2c, served"] = grpcClient(t, served.Addr().String(), insecure.NewCredentials())
	clients["grpc-go over h2, served"] = grpcClient(t, servedTLS.Addr().String(), secured)
	return clients
}

// kinds are the methods of the test service.
var kinds = map[string]connect.StreamType{
	echopb.Echo_Unary_FullMethodName:        connect.StreamTypeUnary,
	echopb.Echo_ServerStream_FullMethodName: connect.StreamTypeServer,
	echopb.Echo_ClientStream_FullMethodName: connect.StreamTypeClient,
	echopb.Echo_Bidi_FullMethodName:         connect.StreamTypeBidi,
}

func connectClient(transport connect.Transport) rpcClient {
	return func(ctx context.Context, method string, requests ...*echopb.Request) (o outcome) {
		md, _ := metadata.FromOutgoingContext(ctx)
		ctx, info := connect.NewClientContext(ctx)
		for key, values := range md {
			for _, v := range values {
				if strings.HasSuffix(key, "-bin") {
					v = connect.EncodeBinaryHeader([]byte(v))
				}
				info.RequestHeader().Add(key, v)
			}
		}
		stream, err := connect.NewClient(transport).CallClientStream(ctx, connect.Spec{Procedure: method, StreamType: kinds[method]})
		for i := 0; err == nil && i < len(requests); i++ {
			err = stream.Send(requests[i])
		}
		if err == nil {
			err = stream.CloseSend()
		}
		for err == nil || errors.Is(err, io.EOF) && o.replies == nil { // after a Send that failed, the reason is to be had
			reply := new(echopb.Reply)
			if err = stream.Receive(reply); err == nil {
				o.replies = append(o.replies, reply)
			} else if errors.Is(err, io.EOF) {
				break
			}
		}
		o.header, o.trailer = plainHeader(info.ResponseHeader()), plainHeader(info.ResponseTrailer())
		if failure, ok := errors.AsType[*connect.Error](err); ok && !errors.Is(err, io.EOF) {
			o.code, o.message = codes.Code(failure.Code()), failure.Message()
			for _, d := range failure.Details() {
				o.details = append(o.details, d.Type)
			}
		}
		return o
	}
}

func plainHeader(h *connect.Header) map[string][]string {
	out := map[string][]string{}
	for key, values := range h.All() {
		key = strings.ToLower(key)
		for _, v := range values {
			if raw, err := connect.DecodeBinaryHeader(v); err == nil && strings.HasSuffix(key, "-bin") {
				v = string(raw)
			}
			out[key] = append(out[key], v)
		}
	}
	return out
}

func grpcClient(t *testing.T, target string, creds credentials.TransportCredentials) rpcClient {
	t.Helper()
	cc, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return func(ctx context.Context, method string, requests ...*echopb.Request) (o outcome) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		kind := kinds[method]
		desc := &grpc.StreamDesc{ClientStreams: kind&connect.StreamTypeClient != 0, ServerStreams: kind&connect.StreamTypeServer != 0}
		stream, err := cc.NewStream(ctx, desc, method)
		for i := 0; err == nil && i < len(requests); i++ {
			err = stream.SendMsg(requests[i])
		}
		if err == nil {
			err = stream.CloseSend()
		}
		for err == nil {
			reply := new(echopb.Reply)
			if err = stream.RecvMsg(reply); err == nil {
				o.replies = append(o.replies, reply)
				if !desc.ServerStreams {
					err = stream.RecvMsg(new(echopb.Reply)) // its trailers
				}
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if stream != nil {
			o.header, _ = stream.Header()
			o.trailer = stream.Trailer()
		}
		s := status.Convert(err)
		o.code, o.message = s.Code(), s.Message()
		for _, d := range s.Proto().GetDetails() {
			o.details = append(o.details, strings.TrimPrefix(d.GetTypeUrl(), "type.googleapis.com/"))
		}
		return o
	}
}

// eachClient runs a test with every client, against one bridge.
func eachClient(t *testing.T, cfg bridge.Config, test func(t *testing.T, call rpcClient)) *testsvc.Server {
	t.Helper()
	cfg.RPC = true
	srv, svc := newServer(t, cfg)
	for name, call := range rpcClients(t, srv) {
		t.Run(name, func(t *testing.T) { test(t, call) })
	}
	return svc
}

// TestRPC_kinds: every kind of RPC, with metadata both ways and messages of
// all sorts of lengths.
func TestRPC_kinds(t *testing.T) {
	ctx := metadata.AppendToOutgoingContext(t.Context(), "a", "1", "a", "2", "raw-bin", "\x00\xff")
	eachClient(t, bridge.Config{}, func(t *testing.T, call rpcClient) {
		for method, kind := range kinds {
			if kind == connect.StreamTypeBidi && strings.HasSuffix(t.Name(), "HTTP/1.1") {
				continue // which connect-go refuses
			}
			script := &echopb.Script{
				Reflect: true, Replies: 3,
				Headers:  []*echopb.Pair{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}, {Key: "h-bin", Value: []byte("\x00\x01")}},
				Trailers: []*echopb.Pair{{Key: "t", Value: []byte("3")}, {Key: "t-bin", Value: []byte("\xfe")}},
			}
			requests := []*echopb.Request{testsvc.Request(1, 100_000)}
			requests[0].Script = script
			want := map[connect.StreamType]int{connect.StreamTypeServer: 3, connect.StreamTypeBidi: 3}[kind]
			if kind&connect.StreamTypeClient != 0 {
				requests = append(requests, testsvc.Request(2, 0), testsvc.Request(3, 10))
			}
			got := call(ctx, method, requests...)
			if got.code != codes.OK || len(got.replies) != max(want, 1) {
				t.Errorf("%s: %d replies, %v %s", method, len(got.replies), got.code, got.message)
				continue
			}
			if !slices.Equal(got.header["h"], []string{"1", "2"}) || !slices.Equal(got.header["h-bin"], []string{"\x00\x01"}) {
				t.Errorf("%s: headers %q", method, got.header)
			}
			if !slices.Equal(got.trailer["t"], []string{"3"}) || !slices.Equal(got.trailer["t-bin"], []string{"\xfe"}) {
				t.Errorf("%s: trailers %q", method, got.trailer)
			}
			md := map[string][]string{}
			for _, p := range got.replies[0].GetMetadata() {
				md[p.GetKey()] = append(md[p.GetKey()], string(p.GetValue()))
			}
			if !slices.Equal(md["a"], []string{"1", "2"}) || !slices.Equal(md["raw-bin"], []string{"\x00\xff"}) {
				t.Errorf("%s: the backend got metadata %q", method, md)
			}
			for key := range md {
				if strings.HasPrefix(key, "connect-") || strings.HasPrefix(key, "grpc-") && key != "grpc-accept-encoding" || strings.HasPrefix(key, "x-grpc-") || key == "host" || key == "content-encoding" {
					t.Errorf("%s: the backend got %s", method, key)
				}
			}
		}
	})
}

// TestRPC_status: code, message, details and trailers of an RPC that fails.
func TestRPC_status(t *testing.T) {
	eachClient(t, bridge.Config{}, func(t *testing.T, call rpcClient) {
		for method, kind := range kinds {
			if kind == connect.StreamTypeBidi && strings.HasSuffix(t.Name(), "HTTP/1.1") {
				continue // which connect-go refuses
			}
			got := call(t.Context(), method, &echopb.Request{Script: &echopb.Script{
				Status: uint32(codes.NotFound), Message: "no ünder, 100%", Details: []*echopb.Pair{{Key: "k", Value: []byte("v")}},
				Trailers: []*echopb.Pair{{Key: "t", Value: []byte("3")}},
			}})
			if got.code != codes.NotFound || got.message != "no ünder, 100%" || !slices.Equal(got.details, []string{"pollbridge.test.v1.Pair"}) {
				t.Errorf("%s: %v %q %q", method, got.code, got.message, got.details)
			}
			if !slices.Equal(got.trailer["t"], []string{"3"}) {
				t.Errorf("%s: trailers %q", method, got.trailer)
			}
		}
	})
}
