package ws

import (
	"bufio"
	"net"
	"testing"
	"time"
)

// TestQuiet holds what ends the wait of a reader, and as what.
func TestQuiet(t *testing.T) {
	if !canPoll {
		t.Skip("readers wait in the library here")
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	peer, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	conn, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	q := newQuiet(conn, reader)
	waiting := make(chan bool)
	wait := func() { waiting <- q.wait(true) }

	for range 3 {
		go wait()
		for renewed := false; !renewed; {
			q.renew() // nothing until the wait has begun
			select {
			case renewed = <-waiting:
			case <-time.After(time.Millisecond):
			}
		}
	}
	go wait()
	if _, err := peer.Write([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	if <-waiting {
		t.Error("bytes ended the wait as renew does")
	}
	if b, err := reader.ReadByte(); err != nil || b != 'a' {
		t.Errorf("read %q, %v", b, err)
	}
	if q.wait(true) { // the second byte is buffered
		t.Error("waited with bytes in the buffer")
	}
	if b, err := reader.ReadByte(); err != nil || b != 'b' {
		t.Errorf("read %q, %v", b, err)
	}
	go wait()
	peer.Close()
	if <-waiting {
		t.Error("the end ended the wait as renew does")
	}
	q.end()
	q.renew()
	if q.wait(true) {
		t.Error("waited after the end")
	}
	if _, err := reader.ReadByte(); err == nil {
		t.Error("read from a connection that has ended")
	}
}
