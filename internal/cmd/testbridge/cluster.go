package main

import (
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/pollbridge/pollbridge/bridge"
)

// cluster starts n bridges and a NATS server, and has bridges of cfg join them. With
// none of them it does nothing.
func cluster(cfg *bridge.Config, n int) (others []*bridge.Server, leave func(), err error) {
	if n == 0 {
		return nil, func() {}, nil
	}
	hub, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		return nil, nil, err
	}
	hub.Start()
	var conns []*nats.Conn
	leave = func() {
		for _, b := range others {
			shutDown(b)
		}
		for _, c := range conns {
			c.Close()
		}
		hub.Shutdown()
		hub.WaitForShutdown()
	}
	if !hub.ReadyForConnections(10 * time.Second) {
		err = errors.New("NATS does not start")
	}
	for i := 0; i <= n && err == nil; i++ {
		var conn *nats.Conn
		if conn, err = nats.Connect(hub.ClientURL()); err != nil {
			break
		}
		conns = append(conns, conn)
		cfg.Cluster = conn
		if i < n {
			var b *bridge.Server
			if b, err = bridge.New(*cfg); err == nil {
				others = append(others, b)
			}
		}
	}
	if err != nil {
		leave()
	}
	return others, leave, err
}

// inTurn gives each request to the next bridge.
func inTurn(first http.Handler, others []*bridge.Server) http.Handler {
	if len(others) == 0 {
		return first
	}
	all := []http.Handler{first}
	for _, b := range others {
		all = append(all, b)
	}
	var turn atomic.Uint64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all[turn.Add(1)%uint64(len(all))].ServeHTTP(w, r)
	})
}
