package session

// Reserved is how many bytes a Registry has reserved for large messages.
func Reserved(r *Registry) int {
	r.large.mu.Lock()
	defer r.large.mu.Unlock()
	return reassemblyTotal(&r.cfg) - r.large.left
}

// ForgetDemotion lets a client's session try a WebSocket at once, as when the
// network changed.
func ForgetDemotion(s *Session) {
	s.mu.Lock()
	defer s.unlock()
	s.client.ladder.retry.Reset()
	s.client.ladder.nextDial = s.now()
	s.wake()
}

// Switch moves a client's new frames to its WebSocket, or back to exchanges,
// with both alive. It reports whether there is a WebSocket.
func Switch(s *Session, toSocket bool) bool {
	s.mu.Lock()
	defer s.unlock()
	l := &s.client.ladder
	so := s.client.socket
	if so == nil || !so.open {
		return false
	}
	if toSocket {
		l.choose(so)
	} else {
		l.leave()
	}
	return true
}
