package longpoll_test

import (
	"net/http"
	"testing"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/transporttest"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/longpoll"
)

func TestSuite(t *testing.T)        { transporttest.Run(t, transport.Longpoll, start) }
func TestSuiteOverTCP(t *testing.T) { transporttest.RunTCP(t, transport.Longpoll, start) }

func start(t *testing.T, acceptor transport.Acceptor, network transporttest.Network) dialer.Carrier {
	mux := http.NewServeMux()
	mux.Handle("/v1/{sid}/poll", longpoll.New(acceptor, longpoll.Config{}))
	return transporttest.Serve(t, network, mux)
}
