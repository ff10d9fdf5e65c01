package ws_test

import (
	"net/http"
	"testing"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/transporttest"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/ws"
)

func TestSuite(t *testing.T)        { transporttest.Run(t, transport.WS, start) }
func TestSuiteOverTCP(t *testing.T) { transporttest.RunTCP(t, transport.WS, start) }

func start(t *testing.T, acceptor transport.Acceptor, network transporttest.Network) dialer.Carrier {
	mux := http.NewServeMux()
	h := ws.New(acceptor, ws.Config{})
	mux.Handle("/v1/{sid}/ws", h)
	t.Cleanup(h.Close)
	return transporttest.Serve(t, network, mux)
}
