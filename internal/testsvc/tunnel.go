package testsvc

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
)

// Tunnel answers a CONNECT as a forward proxy does, with a connection made by
// dial, until either end closes.
func Tunnel(w http.ResponseWriter, r *http.Request, dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	out, err := dial(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer out.Close()
	w.WriteHeader(http.StatusOK)
	in, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer in.Close()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(out, buffered)
		out.Close()
	})
	both.Go(func() {
		_, _ = io.Copy(in, out)
		in.Close()
	})
	both.Wait()
}
