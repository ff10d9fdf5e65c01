package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// A connection that is to be cut lives between these.
const (
	shortestLife = 20 * time.Millisecond
	longestLife  = 200 * time.Millisecond
)

// network is what lies between a client and its bridge.
type network struct {
	url     string
	servers []*http.Server
}

func newNetwork(kind string, bridge http.Handler) (*network, error) {
	n := new(network)
	switch kind {
	case "plain":
		return n, n.add(bridge, nil)
	case "cut":
		return n, n.add(bridge, newCutter(http.StateNew).watch)
	case "switched":
		return n, n.add(bridge, newCutter(http.StateHijacked).watch)
	case "buffered":
		if err := n.add(bridge, nil); err != nil {
			return nil, err
		}
		to, err := url.Parse(n.url)
		if err != nil {
			return nil, err
		}
		return n, n.add(buffered(to), nil)
	}
	return nil, fmt.Errorf("network %q is none of plain, buffered, cut and switched", kind)
}

// add puts a server before those that are there.
func (n *network) add(handler http.Handler, onState func(net.Conn, http.ConnState)) error {
	server, at, err := serve(handler, onState)
	if err != nil {
		return err
	}
	n.url = at
	n.servers = append(n.servers, server)
	return nil
}

func (n *network) close() {
	for _, s := range n.servers {
		s.Close()
	}
}

// buffered is a middlebox that passes neither a request nor an answer on before
// it has all of it, and knows no WebSocket.
func buffered(to *url.URL) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(answer *http.Response) error {
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		answer.Body = io.NopCloser(bytes.NewReader(text))
		answer.ContentLength = int64(len(text))
		answer.Header.Set("Content-Length", strconv.Itoa(len(text)))
		return err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			http.Error(w, "no upgrades", http.StatusForbidden)
			return
		}
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client is gone
		}
		r.Body = io.NopCloser(bytes.NewReader(text))
		proxy.ServeHTTP(w, r)
	})
}

// cutter cuts connections, some time after they came into a state. What was
// written to one and is not yet sent is lost with it.
type cutter struct {
	at http.ConnState

	mu    sync.Mutex
	fuses map[net.Conn]*time.Timer
}

func newCutter(at http.ConnState) *cutter {
	return &cutter{at: at, fuses: make(map[net.Conn]*time.Timer)}
}

// watch is http.Server's ConnState.
func (c *cutter) watch(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case c.at:
		life := shortestLife + rand.N(longestLife-shortestLife)
		c.fuses[conn] = time.AfterFunc(life, func() { c.cut(conn) })
	case http.StateClosed:
		if fuse := c.fuses[conn]; fuse != nil {
			fuse.Stop()
			delete(c.fuses, conn)
		}
	default:
	}
}

func (c *cutter) cut(conn net.Conn) {
	c.mu.Lock()
	delete(c.fuses, conn)
	c.mu.Unlock()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it may be closed already
	}
	conn.Close()
}
