package netcheck

// A check's request is a POST to {prefix}/v1/check/echo whose body is an Ask as
// one line of JSON and then any payload; its response is an Answer and then the
// requested payload, in the same form. A WebSocket at
// {prefix}/v1/check/ws?run=R&n=N echoes messages. A GET of
// {prefix}/v1/check/nonce returns a text that is never the same.

// Limits of a run, enforced by the bridge.
const (
	MaxPayload = 1 << 20  // bytes of a request and of a response
	MaxHold    = 60_000   // milliseconds
	MaxRun     = 24 << 20 // bytes of all payloads of a run, in both directions
	MaxAsks    = 1000     // requests and WebSockets of a run
)

// FrameSize is the length of a frame of a streamed response: a letter, A, B or C,
// the beginning of the run's ID, and a newline.
const FrameSize = 16

// PadSize is the bytes of padding after the first frame of StreamPadded.
const PadSize = 64 << 10

// FrameGap is the time between two frames, in milliseconds.
const FrameGap = 700

// Values of Ask.Stream.
const (
	StreamFrames = "frames" // three frames, FrameGap apart
	StreamPadded = "padded" // the same, and much padding after the first
	StreamDrip   = "drip"   // a byte every 500 ms until HoldMillis are over
)

// Ask is what a request of a check asks for.
type Ask struct {
	Run        string `json:"run"` // 22 letters and digits, chosen by the client
	N          int    `json:"n"`   // number of the request in its run, from 1 on
	HoldMillis int    `json:"hold_ms,omitempty"`
	Down       int    `json:"down,omitempty"`   // length of the answer's payload
	Status     int    `json:"status,omitempty"` // of the answer, not 200
	Stream     string `json:"stream,omitempty"`
	Seen       bool   `json:"seen,omitempty"`   // report what the request looked like
	Record     bool   `json:"record,omitempty"` // report the run so far
}

// Answer answers an Ask.
type Answer struct {
	Run    string  `json:"run"`
	N      int     `json:"n"`
	Up     int     `json:"up"`              // length of the request's payload
	Sum    uint32  `json:"sum"`             // its CRC-32C
	Error  string  `json:"error,omitempty"` // why the bridge does not do what it was asked to
	Seen   *Seen   `json:"seen,omitempty"`
	Record *Record `json:"record,omitempty"`
}

// Seen is what a request looked like when it came.
type Seen struct {
	Release     string   `json:"release"`
	Proto       string   `json:"proto"`             // "HTTP/1.1"
	TLS         string   `json:"tls,omitempty"`     // version, where the bridge itself speaks TLS
	Binding     string   `json:"binding,omitempty"` // of the TLS connection: the same at both of its ends only
	Headers     []string `json:"headers"`           // names, sorted, lower case
	ContentType string   `json:"content_type,omitempty"`
	Via         string   `json:"via,omitempty"`
	Forwarded   int      `json:"forwarded,omitempty"` // entries of X-Forwarded-For
}

// Record is a run as seen by the bridge.
type Record struct {
	Copies       int       `json:"copies"`    // requests that arrived more than once
	LatestMillis int       `json:"latest_ms"` // the most between the first and last arrival of one
	Peak         int       `json:"peak"`      // requests at once
	Arrivals     []Arrival `json:"arrivals"`  // in order
	Gone         []int     `json:"gone"`      // requests given up by their client
	Sockets      []Socket  `json:"sockets"`
}

// Arrival is the first arrival of a request.
type Arrival struct {
	N      int `json:"n"`
	Millis int `json:"ms"` // after the run's first
}

// Socket is a WebSocket handshake that arrived.
type Socket struct {
	N       int  `json:"n"`
	Upgrade bool `json:"upgrade"` // with its Upgrade header
}
