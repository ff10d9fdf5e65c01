package backend_test

import (
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver/dns"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/testsvc"
)

// Names may be looked up again at once: gRPC waits 30 s, of real time.
func init() { dns.SetMinResolutionInterval(10 * time.Millisecond) }

// nameServer answers every question for an address with the same ones.
type nameServer struct {
	conn net.PacketConn
	mu   sync.Mutex
	list []netip.Addr
}

func newNameServer(t *testing.T, addrs ...string) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{conn: conn}
	n.set(addrs...)
	var serving sync.WaitGroup
	serving.Go(n.serve)
	t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
	return n
}

func (n *nameServer) set(addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = nil
	for _, a := range addrs {
		n.list = append(n.list, netip.MustParseAddr(a))
	}
}

func (n *nameServer) serve() {
	buf := make([]byte, 512)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:size]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			n.mu.Lock()
			for _, a := range n.list {
				m.Answers = append(m.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: a.As4()},
				})
			}
			n.mu.Unlock()
		}
		if answer, err := m.Pack(); err == nil {
			_, _ = n.conn.WriteTo(answer, from)
		}
	}
}

// TestPool_dns follows a name whose addresses change: all of them are used; one
// that goes is given up, and one that comes is found when a connection ends.
func TestPool_dns(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has every address of 127.0.0.0/8")
	}
	first := listen(t, "")
	_, port, err := net.SplitHostPort(first.Addr)
	if err != nil {
		t.Fatal(err)
	}
	// Connections of the second end after a while, as those of a server should
	// whose replicas come and go.
	age := grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 50 * time.Millisecond})
	second := listen(t, "127.0.0.2:"+port, age)
	names := newNameServer(t, "127.0.0.1", "127.0.0.2")
	p := newPool(t, backend.Config{Target: "dns://" + names.conn.LocalAddr().String() + "/backend.test:" + port})
	reach := func(servers ...*testsvc.Server) {
		t.Helper()
		for _, s := range servers {
			for before := s.Counts().Started; s.Counts().Started == before; {
				echo(t, p, backend.CallOptions{})
			}
		}
	}
	reach(first, second)

	names.set("127.0.0.2")
	first.GRPC.GracefulStop()
	for range 20 {
		echo(t, p, backend.CallOptions{}) // none fails
	}
	reach(second)

	third := listen(t, "127.0.0.3:"+port)
	names.set("127.0.0.2", "127.0.0.3")
	reach(third, second)

	names.set("127.0.0.3")
	second.GRPC.GracefulStop()
	for range 20 {
		echo(t, p, backend.CallOptions{})
	}
}
