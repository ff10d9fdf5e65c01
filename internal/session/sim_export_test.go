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
	s.client.ladder.retry.reset()
	s.client.ladder.nextDial = s.now()
	s.wake()
}
