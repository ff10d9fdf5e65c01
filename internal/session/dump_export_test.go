package session

import "strings"

import "fmt"

// Dump tells what a session's engine is at.
func Dump(s *Session) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, in := &s.out, &s.in
	var d strings.Builder
	fmt.Fprintf(&d, "now %v; out: acked %d sent %d lost %d flying %d ready %d turn %d cancels %d grants %d stalled %d full %v sendable %v; in: taken %d ahead %d dropped %d owed %d; bound %d smooth %v",
		s.now(), o.acked, o.sent.len(), o.lost, o.flying, o.ready, o.turn.len(), len(o.cancels), len(o.grants), o.stalled.len(), o.full(), o.sendable(),
		in.taken, len(in.ahead), in.dropped, in.owed, s.bound(), s.path.SmoothedRTT())
	for _, st := range s.streams {
		fmt.Fprintf(&d, "\n  stream %d: send queue %d bytes %d limit %d used %d turn %v blocked %v held %v waiting %v; recv queue %d part %v charged %d consumed %d limit %d granting %v reserve %v; done %v ended %v serving %v",
			st.id, st.send.queue.len(), st.send.bytes, st.send.limit, st.send.used, st.send.inTurn, st.send.blocked, st.send.held, st.send.waiting,
			st.recv.queue.len(), st.recv.part != nil, st.recv.charged, st.recv.consumed, st.recv.limit, st.recv.granting, st.recv.reserve != nil, st.done, st.ended, st.serving)
	}
	if br := s.bridge; br != nil {
		fmt.Fprintf(&d, "\n  bridge: highX %d highSocket %d awaiting %d prefer %d poll %v links %d", br.highX, br.highSocket, br.awaiting, br.prefer, br.poll != nil, br.links)
		if br.socket != nil {
			fmt.Fprintf(&d, " socket %d flying %d heard %v pinged %v owedAt %v", br.socket.x, br.socket.flying, br.socket.heard, br.socket.pinged, br.socket.owedAt)
		}
	}
	if c := s.client; c != nil {
		fmt.Fprintf(&d, "\n  client: nextX %d phase %v last %v; exchanges flying %d nextTry %v asked %v wanted %v; prefer %d dialing %v nextDial %v nextStep %v",
			c.nextX, c.state.Phase, c.state.LastError, len(c.exchanges.flying), c.exchanges.nextTry, c.exchanges.asked, c.exchanges.wanted(), c.ladder.prefer, c.ladder.dialing, c.ladder.nextDial, c.nextStep)
		for _, x := range c.exchanges.flying {
			fmt.Fprintf(&d, " [x %d sent %v limit %v hold %v frames %v]", x.x, x.sent, x.limit, x.hold, x.frames)
		}
		if so := c.socket; so != nil {
			fmt.Fprintf(&d, " socket %d flying %d heard %v pinged %v open %v gone %v doubted %v owedAt %v proven %v restate %v", so.x, so.flying, so.heard, so.pinged, so.open, so.gone, so.doubted, so.owedAt, so.proven, so.restate)
		}
	}
	return d.String()
}

// Sessions are the sessions of a Registry.
func Sessions(r *Registry) []*Session {
	var all []*Session
	r.each(func(s *Session) { all = append(all, s) })
	return all
}
