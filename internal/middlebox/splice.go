package middlebox

import (
	"context"
	"errors"
	"io"
	"sync"
)

// splice passes bytes between the client and an upstream until one of them
// ends, ctx does, or the profile kills it. It closes both.
func (c *conn) splice(ctx context.Context, up io.ReadWriteCloser, f *Profile) {
	limit := c.p.killLimit(f)
	unhook := context.AfterFunc(ctx, func() {
		if context.Cause(ctx) == errCut {
			c.p.strike("cut")
		}
		up.Close()
		c.line.Close()
	})
	defer unhook()
	var both sync.WaitGroup
	both.Go(func() {
		c.unwatch()
		_, _ = io.Copy(up, c.br) // whoever fails, both end
		up.Close()
	})
	both.Go(func() {
		if err := copyUpTo(c.rw, up, limit); errors.Is(err, errKilled) {
			c.p.strike("killafter")
			c.line.reset()
		}
		up.Close()
		c.line.Close()
	})
	both.Wait()
}

var errKilled = errors.New("middlebox: killed")

// killLimit is after how many bytes the body that begins now is killed; less
// than 0: never.
func (p *Proxy) killLimit(f *Profile) int {
	if f.KillAfter <= 0 {
		return -1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bodies++
	if !every(p.bodies, f.KillEvery) {
		return -1
	}
	return f.KillAfter
}

// copyUpTo copies at most limit bytes, if limit is not less than 0.
func copyUpTo(dst io.Writer, src io.Reader, limit int) error {
	if limit < 0 {
		_, err := io.Copy(dst, src)
		return err
	}
	_, err := io.CopyN(dst, src, int64(limit))
	if err != nil {
		return err
	}
	return errKilled
}

// swallow lets an upgraded connection live on and passes nothing.
func (c *conn) swallow(ctx context.Context, up io.ReadWriteCloser) {
	unhook := context.AfterFunc(ctx, func() { up.Close(); c.line.Close() })
	defer unhook()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(io.Discard, up)
		c.line.Close()
	})
	both.Go(func() {
		c.unwatch()
		_, _ = io.Copy(io.Discard, c.br)
		up.Close()
	})
	both.Wait()
}
