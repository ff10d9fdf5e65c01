package longpoll_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/transporttest/fake"
	"github.com/pollbridge/pollbridge/transport/longpoll"
)

// inBubble serves a handler over pipes in a synctest bubble and hands the test
// one client's connection.
func inBubble(t *testing.T, test func(t *testing.T, acceptor *fake.Acceptor, conn net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		acceptor := fake.New(8)
		mux := http.NewServeMux()
		mux.Handle("/v1/{sid}/poll", longpoll.New(acceptor, longpoll.Config{}))
		server := &http.Server{Handler: mux}
		listener := fake.Listen()
		served := make(chan struct{})
		go func() {
			defer close(served)
			server.Serve(listener)
		}()
		conn, err := listener.Dial()
		if err != nil {
			t.Fatal(err)
		}
		test(t, acceptor, conn)
		conn.Close()
		server.Close()
		<-served
	})
}

// post writes a request whose body may be shorter than it says.
func post(t *testing.T, conn net.Conn, length int, body string) {
	t.Helper()
	_, err := fmt.Fprintf(conn, "POST /v1/c2lk/poll HTTP/1.1\r\nHost: b\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%s", length, body)
	if err != nil {
		t.Fatal(err)
	}
}

func TestHeldExchangeOutlivesTheUploadTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, acceptor *fake.Acceptor, conn net.Conn) {
		answers := bufio.NewReader(conn)
		for i := range 3 {
			post(t, conn, 4, "ping")
			link := <-acceptor.Links
			time.Sleep(10 * time.Minute)
			link.Say <- []byte("pong")
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatalf("exchange %d: %v", i, err)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "pong" {
				t.Fatalf("exchange %d: %q, %v", i, body, err)
			}
			<-link.Closed
			time.Sleep(10 * time.Minute) // an idle HTTP connection keeps no deadline
		}
	})
}

func TestSlowUploadIsCut(t *testing.T) {
	inBubble(t, func(t *testing.T, acceptor *fake.Acceptor, conn net.Conn) {
		start := time.Now()
		post(t, conn, 100, strings.Repeat("x", 99))
		answer, err := io.ReadAll(conn)
		if len(answer) != 0 || err != nil {
			t.Errorf("%q, %v; want a cut connection", answer, err)
		}
		if got := time.Since(start); got != 30*time.Second {
			t.Errorf("cut after %s, want 30s", got)
		}
		if len(acceptor.Links) != 0 {
			t.Error("a batch that never arrived was accepted")
		}
	})
}

func TestPeerThatDoesNotReadIsCut(t *testing.T) {
	inBubble(t, func(t *testing.T, acceptor *fake.Acceptor, conn net.Conn) {
		post(t, conn, 4, "ping")
		link := <-acceptor.Links
		link.Say <- []byte("pong")
		<-link.Closed
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Errorf("after 59 s: %v", err)
		}

		post(t, conn, 4, "ping")
		link = <-acceptor.Links
		link.Say <- []byte("pong")
		<-link.Closed
		time.Sleep(61 * time.Second)
		if answer, err := io.ReadAll(conn); len(answer) != 0 || err != nil {
			t.Errorf("after 61 s: %q, %v; want a cut connection", answer, err)
		}
	})
}
