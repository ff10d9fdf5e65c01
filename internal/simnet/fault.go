package simnet

import "slices"

import "math/rand/v2"

// Fault is one way to spoil an exchange or a socket.
type Fault string

// Faults of exchanges. Where the request's fate is not named, it arrives.
const (
	BadStatus     Fault = "bad-status"       // the request arrives or not; the answer is another status
	HTML          Fault = "html-200"         // a login page with status 200
	Empty         Fault = "empty-200"        // status 200 and no body
	Truncate      Fault = "truncate"         // the answer ends early, as if complete
	DropLastByte  Fault = "drop-last-byte"   // the answer lacks its last byte
	Flip          Fault = "flip-bit"         // one bit of the answer is wrong
	FlipRequest   Fault = "flip-request-bit" // one bit of the request is wrong
	Duplicate     Fault = "duplicate"        // the request arrives twice at once; either answer counts
	DuplicateLate Fault = "duplicate-late"   // it arrives again, up to five minutes later
	Replay        Fault = "replay"           // the answer is an earlier one
	Late          Fault = "late-request"     // cut off at once; the request arrives up to three minutes later
	HoldAnswer    Fault = "hold-answer"      // the answer waits until a later one has passed
	HoldRequest   Fault = "hold-request"     // the request waits until a later one has passed
	Swallow       Fault = "post-blackhole"   // the request never arrives, and nothing ever comes
	Deaf          Fault = "answer-blackhole" // the request arrives, and nothing ever comes
	CutAt         Fault = "cut-at"           // cut at the age of Profile.Cut
)

// Faults of sockets.
const (
	Refuse     Fault = "refuse-upgrade"   // no upgrade
	LostDial   Fault = "get-blackhole"    // the handshake is never answered
	Mute       Fault = "101-then-mute"    // after the handshake, or a while, nothing passes
	MuteUp     Fault = "socket-mute-up"   // the same from client to bridge only
	MuteDown   Fault = "socket-mute-down" // the same from bridge to client only
	Reset      Fault = "101-then-reset"   // it is reset after a while
	Lag        Fault = "socket-lag"       // the last piece waits until the next comes
	FlipSocket Fault = "socket-flip-bit"  // one bit is wrong after a while
)

// ExchangeFaults and SocketFaults list the faults that spoil the one or the
// other.
func ExchangeFaults() []Fault {
	return []Fault{
		BadStatus, HTML, Empty, Truncate, DropLastByte, Flip, FlipRequest, Duplicate, DuplicateLate,
		Replay, Late, HoldAnswer, HoldRequest, Swallow, Deaf, CutAt,
	}
}

// SocketFaults lists the faults of sockets.
func SocketFaults() []Fault {
	return []Fault{Refuse, LostDial, Mute, MuteUp, MuteDown, Reset, Lag, FlipSocket}
}

// statuses are what proxies answer in the bridge's place.
var statuses = []int{408, 429, 500, 502, 503, 504, 403, 407}

// plan says which faults are still to come.
type plan struct {
	rates  map[Fault]float64
	queued []Fault
}

// pick takes the next queued fault that all allows, or rolls the dice.
func (p *plan) pick(rng *rand.Rand, all []Fault) Fault {
	for i, f := range p.queued {
		if contains(all, f) {
			p.queued = append(p.queued[:i:i], p.queued[i+1:]...)
			return f
		}
	}
	for _, f := range all {
		if r := p.rates[f]; r > 0 && rng.Float64() < r {
			return f
		}
	}
	return ""
}

func contains(all []Fault, f Fault) bool {
	return slices.Contains(all, f)
}
