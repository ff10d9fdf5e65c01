package main

import (
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/pollbridge/pollbridge/internal/middlebox"
)

// networks are what may lie on the way, as profiles of a middlebox. Connections that
// are cut live for 20 to 200 ms.
var networks = map[string]string{
	"plain":    "",
	"buffered": "buffer noupgrade",
	"cut":      "cut=20ms cutspread=180ms cutwith=eof",
	"switched": "cut=20ms cutspread=180ms cutupgrades",
}

// network is a bridge and what lies between it and a client.
type network struct {
	url     string
	bridge  *http.Server
	box     *middlebox.Proxy // nil: none
	serving sync.WaitGroup
}

func newNetwork(kind string, bridge http.Handler) (*network, error) {
	text, ok := networks[kind]
	if !ok {
		return nil, fmt.Errorf("network %q is none of plain, buffered, cut and switched", kind)
	}
	profile, err := middlebox.Parse(text)
	if err != nil {
		return nil, err
	}
	server, at, err := serve(bridge)
	if err != nil {
		return nil, err
	}
	n := &network{url: at, bridge: server}
	if text == "" {
		return n, nil
	}
	if n.box, err = middlebox.New(middlebox.Config{Upstream: at, Profile: profile}); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.url = "http://" + listener.Addr().String()
	n.serving.Go(func() { _ = n.box.Serve(listener) }) // ends with Close
	return n, nil
}

func (n *network) close() {
	if n.box != nil {
		n.box.Close()
	}
	n.bridge.Close()
	n.serving.Wait()
}
