package session

import "context"

// request is what an exchange sends.
type request struct {
	x     *exchange
	ctx   context.Context
	batch []byte
}

// carry carries an exchange out.
func (e *exchanges) carry(r request) {
	defer r.x.cancel(nil)
	body, err := e.c.cfg.Carrier.Exchange(r.ctx, e.c.s.sid, r.batch)
	e.done(r.x, body, err)
}
