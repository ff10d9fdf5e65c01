package longpoll_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/longpoll"
)

// echo answers each exchange with its own batch.
type echo struct{}

func (echo) Accept(_ context.Context, hello transport.Hello) transport.Link {
	return echoLink(hello.Batch)
}

type echoLink []byte

func (echoLink) Deliver(context.Context, []byte) error { return transport.ErrLinkDone }
func (l echoLink) Next(context.Context, int) (transport.Batch, error) {
	return transport.Batch{l}, nil
}
func (echoLink) Close() {}

// BenchmarkExchange compares an exchange of 100 bytes with a bare POST that
// net/http answers with its own body.
func BenchmarkExchange(b *testing.B) {
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})
	for name, handler := range map[string]http.Handler{"bare": bare, "longpoll": longpoll.New(echo{}, longpoll.Config{})} {
		b.Run(name, func(b *testing.B) {
			s := httptest.NewServer(handler)
			defer s.Close()
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			request := append([]byte("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\n"), make([]byte, 100)...)
			answers := bufio.NewReader(conn)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(request); err != nil {
					b.Fatal(err)
				}
				resp, err := http.ReadResponse(answers, nil)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, resp.Body); n != 100 || err != nil {
					b.Fatalf("%d bytes, %v", n, err)
				}
			}
		})
	}
}
