package rpc

import (
	"context"
	"sync"
)

// ending ends a call whatever Serve returns.
type ending struct {
	cancel context.CancelCauseFunc // of Serve's context

	failing sync.Mutex
	failed  error // what is wrong with what the client sent, or could not be told it
}

// Cancel implements Call.
func (e *ending) Cancel() context.CancelCauseFunc { return e.cancel }

func (e *ending) failure() error {
	e.failing.Lock()
	defer e.failing.Unlock()
	return e.failed
}

// fail has the RPC end with the first such error, of connect's or of gRPC's.
func (e *ending) fail(err error) {
	e.failing.Lock()
	if e.failed == nil {
		e.failed = err
	}
	e.failing.Unlock()
	e.cancel(err)
}
