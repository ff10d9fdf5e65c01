package middlebox

import "time"

// Profile is a combination of behaviours. The zero value is a network that
// does nothing wrong. Where a field says "every Nth request", requests that
// are not CONNECT are counted over the whole Proxy from 1 on, and 0 is never.
// README.md tells which products behave so.
type Profile struct {
	// What becomes of answers. Upgraded connections and opaque tunnels are not
	// held: products that scan bodies let those pass, or forbid them.

	Buffer      bool // hold status line, headers and body until the upstream ends
	BufferBytes int  // the same until this many bytes of the body have come
	OneBehind   bool // hold each piece until the next one comes
	Gzip        bool // compress, and flush at the end only, for clients that accept it
	HTTP10      bool // answer as HTTP/1.0 with no length: the end is when the connection closes
	Cache       bool // answer a GET from memory when its URL was asked for before

	// How long things live.

	Cut       time.Duration // age at which an exchange, tunnel or upgraded connection ends, busy or not
	CutSpread time.Duration // added to Cut, at random
	CutWith   Ending        // how an exchange ends then; default Status504
	// CutUpgrades has Cut end upgraded connections alone.
	CutUpgrades bool
	IdleDrop    time.Duration // a connection idle for so long forwards nothing more, and nobody is told
	BlackHole   time.Duration // the same at this age, busy or not; 1 ns: from the start
	KillAfter   int           // reset after this many bytes of an answer's body, tunnel or upgraded connection
	KillEvery   int           // but only every Nth of them; default 1

	// What is refused.

	NoUpgrade   bool   // strip Upgrade: the upstream sees a plain GET
	FakeUpgrade bool   // pass the 101 on, then swallow everything
	MuteUpgrade bool   // never answer a request with Upgrade
	NoConnect   bool   // 403 to CONNECT
	GetPost     bool   // 405 to methods other than GET, POST and CONNECT
	MaxBody     int    // 413 to longer bodies, which are not read
	MaxBodyMute bool   // reset instead of 413
	Auth        string // 407 until Proxy-Authorization names this "user:password"
	InFlight    int    // so many exchanges at once; others wait

	// What becomes of whole requests.

	Dup         bool          // send each twice; the second answer wins, the first is lost
	DupDelay    time.Duration // with Dup: the first answer wins, the copy goes out so much later
	LoseEvery   int           // every Nth is delivered, its answer replaced by 502
	InjectEvery int           // every Nth is not delivered, its answer a login page with status 200
	StaleEvery  int           // every Nth is delivered and answered with an older answer of its URL
	LateEvery   int           // every Nth is delivered Late, even if its client has gone meanwhile
	Late        time.Duration // default 3 s
	Rewrite     int           // answers with a status other than 101 and 200 become a page with this one
	Reorder     time.Duration // every second one waits until a later one was sent, at most so long
	Linger      bool          // the upstream is not told when a client gives up
	NoContinue  bool          // never answer "Expect: 100-continue"

	// What becomes of headers, of requests and answers alike.

	Strip   List // names of fields that are removed
	Replace List // "Name:value", where the field is there

	// What becomes of bytes, on each connection of a client.

	Rechunk int           // pass on in pieces of random lengths up to this many bytes
	Delay   time.Duration // one way; a new connection takes a round trip more
	Jitter  time.Duration // added to Delay, at random, in order
	Rate    int           // bytes a second, each way
}

// Ending is how an exchange is cut.
type Ending string

// Endings. If the headers have gone out already, a cut with a status closes
// the connection, and a short one ends the body in order where that is
// possible: in a chunked answer, or one without length.
const (
	Status504 Ending = "504"   // a page with status 504
	EOF       Ending = "eof"   // the connection is closed
	Short     Ending = "short" // a proper answer 200, of what came until then
)
