// Package wire is the codec of Pollbridge's batches: pure functions over byte
// slices. No clock, no goroutine, no logger, no state.
//
// The schema is proto/pollbridge/v1/pollbridge.proto and docs/PROTOCOL.md
// gives the rules. The codec is written by hand over protowire because the
// generated one allocates per frame; a differential fuzz test holds the two
// equal.
//
// Parsed values alias the parsed bytes: nothing is copied but strings.
package wire

// Sizes of the protocol.
const (
	// MaxFragment is the most bytes of a message in one frame (W5).
	MaxFragment = 16 << 10
	// FrameCost is what a frame counts in windows beside its payload (D2), and
	// a message beside its length (D3).
	FrameCost = 32
	// IDSize and KeySize are the lengths of a session's ID and key (O1).
	IDSize  = 16
	KeySize = 16
	// HeadSize is the size of the envelope before a body (W2).
	HeadSize = 8
	// EnvelopeSize is what the envelope adds to a body, its CRC included (W2).
	EnvelopeSize = HeadSize + crcSize
)

// Versions of the protocol that this package speaks (W3).
const (
	LowestVersion  = 1
	HighestVersion = 1
)

// Batch is what crosses a link at once: header fields and frames. Field by
// field the message Batch of the schema. Slices alias what was parsed.
type Batch struct {
	Session     []byte
	X           uint64
	Key         []byte
	Incarnation uint64
	Ack         uint64
	Close       *Close
	Versions    *Versions

	Hello        *Hello
	Welcome      *Welcome
	NowMicros    uint64
	Awaiting     uint64
	Prefer       uint64
	HoldMillis   uint32
	MaxBytes     uint32
	Resend       bool
	Parked       uint64
	WaitingBytes uint64
	Ping         uint64
	Pong         uint64
	Padding      []byte
	PauseMillis  uint32
	Token        string
	GoAway       *GoAway
	Stopped      bool
	HeldMicros   uint64

	Frames []Frame
}

// Versions is a range of protocol versions (W3).
type Versions struct{ Lowest, Highest uint32 }

// Hello opens or resumes a session (O2).
type Hello struct {
	Release         string
	StreamWindow    uint32
	MaxMessageBytes uint64
}

// Welcome answers a Hello (O2).
type Welcome struct {
	Version          uint32
	Release          string
	HoldMillis       uint32
	ResumeMillis     uint32
	PauseMaxMillis   uint32
	StreamWindow     uint32
	SessionWindow    uint32
	MaxMessageBytes  uint64
	MaxBatchBytes    uint32
	MaxMetadataBytes uint32
	MaxStreams       uint32
	IgnoresTokens    bool
	MaxExchanges     uint32
}

// GoAway asks the client to open new RPCs on another session (E3).
type GoAway struct{ SpreadMillis uint32 }

// CloseCode says why a batch was refused or a session is over.
type CloseCode uint32

// Close codes: refusals, `unknown`, then ends of a session (W6).
const (
	CodeUnspecified       CloseCode = 0
	CodeGarbled           CloseCode = 1
	CodeVersion           CloseCode = 2
	CodeBusy              CloseCode = 3
	CodeTooLarge          CloseCode = 4
	CodeUnknown           CloseCode = 5
	CodeDone              CloseCode = 16
	CodeDrained           CloseCode = 17
	CodeProtocolViolation CloseCode = 18
	CodeOverloaded        CloseCode = 19
	CodeUnauthenticated   CloseCode = 20
)

// Close ends something with a reason that a program can read.
type Close struct {
	Code             CloseCode
	Message          string
	RetryAfterMillis uint32
	Limit            uint64
}

// FrameType is the kind of a frame (W5).
type FrameType uint32

// Frame types.
const (
	TypeOpen      FrameType = 1
	TypeHeaders   FrameType = 2
	TypeMessage   FrameType = 3
	TypeHalfClose FrameType = 4
	TypeCancel    FrameType = 5
	TypeWindow    FrameType = 6
	TypeEnd       FrameType = 7
	TypeClose     FrameType = 8
)

// Frame is the numbered unit of a session. Beside Seq, Stream and Type only
// the fields that the type names are set.
type Frame struct {
	Seq      uint64
	Stream   uint64
	Type     FrameType
	Critical bool

	First  bool   // TypeMessage: a message's first fragment; Length is set
	Data   []byte // TypeMessage
	Length uint64 // TypeMessage with First: the whole message's length
	Limit  uint64 // TypeWindow

	Open    *Open
	Headers *Headers
	End     *End
	Close   *Close
}

// Open starts an RPC.
type Open struct {
	Method         string
	Metadata       []Metadatum
	HasTimeout     bool
	TimeoutMicros  uint64
	CreatedMicros  uint64
	Compression    string
	Early          bool
	ContentSubtype string
	WaitForReady   bool
	// SingleRequest and SingleResponse tell that at most one message goes that
	// way, so that a unary call fits one batch each way.
	SingleRequest  bool
	SingleResponse bool
}

// Metadatum is one metadata key with one value, which may be any bytes.
type Metadatum struct {
	Key   string
	Value string
}

// metadatumCost is what each pair counts beside its key and value, as in an
// HTTP/2 header list (RFC 9113, section 6.5.2).
const metadatumCost = 32

// MetadataSize returns what an RPC's metadata counts towards max_metadata_bytes,
// in either direction (section 7): the bytes of each key and value, and 32 for
// each pair.
func MetadataSize(list []Metadatum) int {
	n := 0
	for i := range list {
		n += len(list[i].Key) + len(list[i].Value) + metadatumCost
	}
	return n
}

// Headers carries an RPC's response headers.
type Headers struct{ Metadata []Metadatum }

// Origin says who made an RPC's status.
type Origin uint32

// Origins.
const (
	OriginBackend Origin = 0
	OriginBridge  Origin = 1
)

// End ends an RPC.
type End struct {
	Status   uint32
	Message  string
	Details  []byte
	Trailers []Metadatum
	Origin   Origin
	Reason   string
}
