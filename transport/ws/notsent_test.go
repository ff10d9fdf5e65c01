//go:build linux || darwin

package ws

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"
)

func TestNotSentLowAt(t *testing.T) {
	for _, tls := range []bool{false, true} {
		got := make(chan int, 1)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			socket, err := New(nil, Config{WriteTimeout: time.Minute}).upgrade(w, r)
			if err != nil {
				t.Error(err)
				return
			}
			got <- notSent(t, socket.conn)
			socket.CloseNow()
		}))
		if tls {
			s.StartTLS()
		} else {
			s.Start()
		}
		c, _, err := websocket.Dial(t.Context(), s.URL, &websocket.DialOptions{HTTPClient: s.Client()})
		if err != nil {
			t.Fatal(err)
		}
		if n := <-got; n != notSentLowAt {
			t.Errorf("TLS %v: TCP_NOTSENT_LOWAT %d, want %d", tls, n, notSentLowAt)
		}
		c.CloseNow()
		s.Close()
	}
}

func notSent(t *testing.T, conn net.Conn) (n int) {
	raw, err := tcpConn(conn).SyscallConn()
	if err != nil {
		t.Error(err)
		return 0
	}
	raw.Control(func(fd uintptr) {
		n, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
		if err != nil {
			t.Error(err)
		}
	})
	return n
}
