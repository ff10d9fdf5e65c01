package demo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/pollbridge/pollbridge/internal/demo"
	"github.com/pollbridge/pollbridge/internal/demo/demopb"
)

// inBubble runs f with a client of a demo server, in a synctest bubble: virtual
// time, and a goroutine left behind fails the test.
func inBubble(t *testing.T, f func(t *testing.T, client demopb.DemoClient)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 20)
		server := grpc.NewServer()
		demo.Register(server)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		conn, err := grpc.NewClient("passthrough:demo",
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		f(t, demopb.NewDemoClient(conn))
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func wantStatus(t *testing.T, err error, code codes.Code, message string) {
	t.Helper()
	if got := status.Convert(err); got.Code() != code || got.Message() != message {
		t.Errorf("got %v %q, want %v %q", got.Code(), got.Message(), code, message)
	}
}

func TestGreet(t *testing.T) {
	for _, test := range []struct {
		name, input, greeting string
		code                  codes.Code
		message               string
	}{
		{name: "plain", input: "Ada", greeting: "Hello, Ada!"},
		{name: "characters count, not bytes", input: strings.Repeat("ø", 100), greeting: "Hello, " + strings.Repeat("ø", 100) + "!"},
		{name: "empty", code: codes.InvalidArgument, message: "name length: 0 is not in 1 to 100"},
		{name: "long", input: strings.Repeat("x", 101), code: codes.InvalidArgument, message: "name length: 101 is not in 1 to 100"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, client demopb.DemoClient) {
				out, err := client.Greet(t.Context(), &demopb.GreetRequest{Name: test.input})
				wantStatus(t, err, test.code, test.message)
				if out.GetGreeting() != test.greeting {
					t.Errorf("got %q, want %q", out.GetGreeting(), test.greeting)
				}
			})
		})
	}
}

func TestCount_keepsTheInterval(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		start := time.Now()
		stream, err := client.Count(t.Context(), &demopb.CountRequest{To: 3, IntervalMs: 500})
		if err != nil {
			t.Fatal(err)
		}
		for want := uint32(1); want <= 3; want++ {
			out, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if out.GetNumber() != want {
				t.Errorf("got %d, want %d", out.GetNumber(), want)
			}
			if got, want := time.Since(start), time.Duration(want-1)*500*time.Millisecond; got != want {
				t.Errorf("number %d came at %v, want %v", out.GetNumber(), got, want)
			}
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want EOF", err)
		}
	})
}

func TestCount_refuses(t *testing.T) {
	for _, test := range []struct {
		name    string
		in      *demopb.CountRequest
		message string
	}{
		{"zero", &demopb.CountRequest{}, "to: 0 is not in 1 to 10000"},
		{"too many", &demopb.CountRequest{To: 10_001}, "to: 10001 is not in 1 to 10000"},
		{"too slow", &demopb.CountRequest{To: 1, IntervalMs: 10_001}, "interval_ms: 10001 is not in 0 to 10000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, client demopb.DemoClient) {
				stream, err := client.Count(t.Context(), test.in)
				if err != nil {
					t.Fatal(err)
				}
				_, err = stream.Recv()
				wantStatus(t, err, codes.InvalidArgument, test.message)
			})
		})
	}
}

func TestCount_stopsWhenCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := client.Count(ctx, &demopb.CountRequest{To: 10_000, IntervalMs: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		cancel()
		_, err = stream.Recv()
		wantStatus(t, err, codes.Canceled, "context canceled")
	})
}

func TestUpload_reportsWhatArrived(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		stream, err := client.Upload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, chunk := range []string{"one", "", "two"} {
			if err := stream.Send(&demopb.UploadRequest{Chunk: []byte(chunk)}); err != nil {
				t.Fatal(err)
			}
		}
		out, err := stream.CloseAndRecv()
		if err != nil {
			t.Fatal(err)
		}
		if out.GetBytes() != 6 || out.GetMessages() != 3 {
			t.Errorf("got %d bytes in %d messages, want 6 in 3", out.GetBytes(), out.GetMessages())
		}
		if want := sha256.Sum256([]byte("onetwo")); !bytes.Equal(out.GetSha256(), want[:]) {
			t.Errorf("got SHA-256 %x, want %x", out.GetSha256(), want)
		}
	})
}

func TestUpload_refusesTooMuch(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		stream, err := client.Upload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		chunk := &demopb.UploadRequest{Chunk: make([]byte, 1<<20)}
		for range 65 {
			if err := stream.Send(chunk); err != nil {
				t.Fatal(err)
			}
		}
		_, err = stream.CloseAndRecv()
		wantStatus(t, err, codes.ResourceExhausted, "chunk: 68157440 bytes so far, the limit of an upload is 67108864")
	})
}

func TestDownload(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		const want = 2*32<<10 + 5
		stream, err := client.Download(t.Context(), &demopb.DownloadRequest{Bytes: want})
		if err != nil {
			t.Fatal(err)
		}
		var got, messages int
		for {
			chunk, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got += len(chunk.GetChunk())
			messages++
		}
		if got != want || messages != 3 {
			t.Errorf("%d bytes in %d messages, want %d in 3", got, messages, want)
		}
		for _, bytes := range []uint32{0, 64<<20 + 1} {
			stream, err := client.Download(t.Context(), &demopb.DownloadRequest{Bytes: bytes})
			if err != nil {
				t.Fatal(err)
			}
			_, err = stream.Recv()
			wantStatus(t, err, codes.InvalidArgument, fmt.Sprintf("bytes: %d is not in 1 to 67108864", bytes))
		}
	})
}

func TestDownload_plain(t *testing.T) {
	const refused = "bytes: want a number in 1 to 67108864\n"
	for query, want := range map[string]struct{ status, size int }{
		"bytes=1":        {http.StatusOK, 1},
		"bytes=100000":   {http.StatusOK, 100_000},
		"bytes=0":        {http.StatusBadRequest, len(refused)},
		"bytes=67108865": {http.StatusBadRequest, len(refused)},
		"":               {http.StatusBadRequest, len(refused)},
	} {
		w := httptest.NewRecorder()
		demo.Download().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/download?"+query, nil))
		if w.Code != want.status || w.Body.Len() != want.size {
			t.Errorf("%q: status %d, %d bytes, want %d, %d", query, w.Code, w.Body.Len(), want.status, want.size)
		}
	}
}

func TestEcho_numbersInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		stream, err := client.Echo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range []string{"ping", "", "pong"} {
			if err := stream.Send(&demopb.EchoRequest{Text: text}); err != nil {
				t.Fatal(err)
			}
			out, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if out.GetText() != text || out.GetNumber() != uint64(i+1) {
				t.Errorf("got %d %q, want %d %q", out.GetNumber(), out.GetText(), i+1, text)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want EOF", err)
		}
	})
}

func TestEcho_refusesLongText(t *testing.T) {
	inBubble(t, func(t *testing.T, client demopb.DemoClient) {
		stream, err := client.Echo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&demopb.EchoRequest{Text: strings.Repeat("x", 10_001)}); err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		wantStatus(t, err, codes.InvalidArgument, "text length: 10001 is not in 0 to 10000")
	})
}
