package cluster

import (
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// NATS returns the Fabric of a connection, which stays its caller's.
func NATS(conn *nats.Conn) Fabric { return natsFabric{conn} }

type natsFabric struct{ conn *nats.Conn }

const (
	// pendingMessages and pendingBytes bound what waits for a handler. It does not
	// wait itself, so that this is only for a machine that does.
	pendingMessages = 1 << 18
	pendingBytes    = 256 << 20
	// flushTimeout bounds the wait until the server knows what was asked for.
	flushTimeout = 2 * time.Second
	// assumedPayload is the server's default, until it is known.
	assumedPayload = 1 << 20
)

var errDisconnected = errors.New("cluster: not connected to NATS")

func (f natsFabric) Publish(subject, reply string, data []byte) error {
	if !f.conn.IsConnected() { // it would be kept, and sent when nobody waits for it
		return errDisconnected
	}
	if reply == "" {
		return f.conn.Publish(subject, data)
	}
	return f.conn.PublishRequest(subject, reply, data)
}

func (f natsFabric) Subscribe(subject string, handle func(Delivery)) (func(), error) {
	sub, err := f.conn.Subscribe(subject, func(m *nats.Msg) {
		handle(Delivery{Subject: m.Subject, Data: m.Data, NoResponders: len(m.Data) == 0 && m.Header.Get("Status") == noResponders})
	})
	if err == nil {
		err = sub.SetPendingLimits(pendingMessages, pendingBytes)
	}
	if err != nil {
		return nil, err
	}
	f.flush()
	return func() {
		_ = sub.Unsubscribe() // fails if the connection is closed
		f.flush()
	}, nil
}

// noResponders is the status of the message for a reply that nobody will send.
const noResponders = "503"

// flush waits until the server has what was said.
func (f natsFabric) flush() {
	if f.conn.IsConnected() {
		_ = f.conn.FlushTimeout(flushTimeout) // without it, all is said a little later
	}
}

func (f natsFabric) Watch(changed func(bool)) func() {
	statuses := f.conn.StatusChanged()
	var watching sync.WaitGroup
	watching.Go(func() {
		for status := range statuses {
			if status != nats.CONNECTED {
				changed(false)
			}
			changed(f.conn.IsConnected())
		}
	})
	return func() {
		f.conn.RemoveStatusListener(statuses) // closes it
		watching.Wait()
	}
}

func (f natsFabric) Connected() bool { return f.conn.IsConnected() }

func (f natsFabric) Server() string { return f.conn.ConnectedServerId() }

func (f natsFabric) MaxPayload() int {
	if n := f.conn.MaxPayload(); n > 0 {
		return int(n)
	}
	return assumedPayload
}
