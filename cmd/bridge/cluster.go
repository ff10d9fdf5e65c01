package main

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
)

const (
	// reconnectWait is how long a NATS server that is gone is left alone between two
	// attempts, give or take reconnectJitter.
	reconnectWait   = 250 * time.Millisecond
	reconnectJitter = 250 * time.Millisecond
	// natsPing is how often the connection is proved; two in a row may be missed.
	natsPing = 5 * time.Second
)

// joinCluster connects to NATS. Where no server can be reached that is tried until
// one can be.
func (p *parts) joinCluster(settings *config.Settings, logger *slog.Logger) error {
	c := settings.Cluster
	if len(c.Servers) == 0 {
		return nil
	}
	conn, err := connectNATS(c, logger)
	if err != nil {
		return settings.Error("cluster", err)
	}
	p.cfg.Cluster, p.cfg.ClusterName = conn, c.Name
	p.closing(conn.Close)
	return nil
}

// connectNATS returns a connection, which need not be there yet.
func connectNATS(c config.Cluster, logger *slog.Logger) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name("pollbridge"), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		nats.PingInterval(natsPing), nats.MaxPingsOutstanding(2),
		nats.IgnoreAuthErrorAbort(), // credentials are read again with each attempt
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { logger.Warn("NATS", "err", err) }),
		nats.ReconnectErrHandler(tellOnce(logger)),
	}
	if c.Creds != "" {
		options = append(options, nats.UserCredentials(c.Creds))
	}
	if c.CA != "" {
		options = append(options, nats.RootCAs(c.CA))
	}
	if c.CertFile != "" {
		options = append(options, nats.ClientCert(c.CertFile, c.KeyFile))
	}
	return nats.Connect(strings.Join(c.Servers, ","), options...)
}

// tellOnce logs why NATS cannot be reached, once for each reason: attempts follow one
// another quickly.
func tellOnce(logger *slog.Logger) nats.ConnErrHandler {
	var mu sync.Mutex
	last := ""
	return func(_ *nats.Conn, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil || err.Error() == last {
			return
		}
		last = err.Error()
		logger.Warn("cannot connect to NATS: trying again", "err", err)
	}
}
