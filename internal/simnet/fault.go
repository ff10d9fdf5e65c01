package simnet

import (
	"math/rand/v2"
	"slices"
)

// Fault is one way to spoil an exchange or a socket. Where a middlebox.Profile can do
// it, it has the name that it has there.
type Fault string

// Faults of exchanges. Where the request's fate is not named, it arrives.
const (
	BadStatus    Fault = "bad-status"       // the request arrives or not; the answer is another status
	Inject       Fault = "inject"           // a login page with status 200
	Empty        Fault = "empty-200"        // status 200 and no body
	Truncate     Fault = "truncate"         // the answer ends early, as if complete
	DropLastByte Fault = "drop-last-byte"   // the answer lacks its last byte
	Flip         Fault = "flip-bit"         // one bit of the answer is wrong
	FlipRequest  Fault = "flip-request-bit" // one bit of the request is wrong
	Dup          Fault = "dup"              // the request arrives twice at once; either answer counts
	DupDelay     Fault = "dupdelay"         // it arrives again, up to five minutes later
	Stale        Fault = "stale"            // the answer is an earlier one
	Late         Fault = "late"             // cut off at once; the request arrives up to three minutes later
	HoldAnswer   Fault = "hold-answer"      // the answer waits until a later one has passed
	Reorder      Fault = "reorder"          // the request waits until a later one has passed
	Swallow      Fault = "post-blackhole"   // the request never arrives, and nothing ever comes
	Deaf         Fault = "answer-blackhole" // the request arrives, and nothing ever comes
	Cut          Fault = "cut"              // cut at the age of Profile.Cut
)

// Faults of sockets.
const (
	NoUpgrade   Fault = "noupgrade"        // no upgrade
	MuteUpgrade Fault = "muteupgrade"      // the handshake is never answered
	BlackHole   Fault = "blackhole"        // after the handshake, or a while, nothing passes
	MuteUp      Fault = "socket-mute-up"   // the same from client to bridge only
	MuteDown    Fault = "socket-mute-down" // the same from bridge to client only
	KillAfter   Fault = "killafter"        // it is reset after a while
	OneBehind   Fault = "onebehind"        // the last piece waits until the next comes
	FlipSocket  Fault = "socket-flip-bit"  // one bit is wrong after a while
)

// ExchangeFaults and SocketFaults list the faults that spoil the one or the
// other.
func ExchangeFaults() []Fault {
	return []Fault{
		BadStatus, Inject, Empty, Truncate, DropLastByte, Flip, FlipRequest, Dup, DupDelay,
		Stale, Late, HoldAnswer, Reorder, Swallow, Deaf, Cut,
	}
}

// SocketFaults lists the faults of sockets.
func SocketFaults() []Fault {
	return []Fault{NoUpgrade, MuteUpgrade, BlackHole, MuteUp, MuteDown, KillAfter, OneBehind, FlipSocket}
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
