package dialer

import "time"

// quietLimit is for how long after the bridge was heard an RPC goes there without
// asking whether it still is: one that stops serves for 2 s what is on its way (E3).
const quietLimit = time.Second

// askAfterQuiet has an exchange without frames, or a ping, go before the next RPC
// where the bridge may have gone unnoticed: what a request carried that a bridge of
// another life refuses may have run, since a copy of it may have come before (E2).
func (s *Session) askAfterQuiet() {
	parked := s.ep.NumStreams() > 0 && s.state.Phase == Open
	if s.asking || parked || !s.welcomed() || s.ep.Carries() || s.ep.Now() < s.heard+quietLimit {
		return
	}
	s.asking = true
	s.exchanges.probeNow = s.exchanges.kind != 0
	s.ep.Wake()
}

// heardBridge notes that the bridge still knows the session: RPCs may go.
func (s *Session) heardBridge() {
	s.heard = s.ep.Now()
	if s.asking {
		s.asking = false
		s.releaseUnsent()
	}
}
