package wire

import "google.golang.org/protobuf/encoding/protowire"

// Wire types of protobuf, as they stand in a tag.
const (
	varint  = uint64(protowire.VarintType)
	fixed64 = uint64(protowire.Fixed64Type)
	length  = uint64(protowire.BytesType)
)

// Tags are field numbers of the schema with their wire type. A known number
// with another wire type is, as in protobuf, an unknown field.
const (
	tagBatchSession      = 1<<3 | length
	tagBatchX            = 2<<3 | varint
	tagBatchKey          = 3<<3 | length
	tagBatchIncarnation  = 4<<3 | fixed64
	tagBatchAck          = 5<<3 | varint
	tagBatchClose        = 6<<3 | length
	tagBatchVersions     = 7<<3 | length
	tagBatchHello        = 8<<3 | length
	tagBatchWelcome      = 9<<3 | length
	tagBatchNow          = 10<<3 | varint
	tagBatchAwaiting     = 11<<3 | varint
	tagBatchPrefer       = 12<<3 | varint
	tagBatchHold         = 13<<3 | varint
	tagBatchMaxBytes     = 14<<3 | varint
	tagBatchResend       = 15<<3 | varint
	tagBatchParked       = 16<<3 | varint
	tagBatchWaitingBytes = 17<<3 | varint
	tagBatchPing         = 18<<3 | varint
	tagBatchPong         = 19<<3 | varint
	tagBatchPadding      = 20<<3 | length
	tagBatchPause        = 21<<3 | varint
	tagBatchToken        = 22<<3 | length
	tagBatchGoAway       = 23<<3 | length
	tagBatchStopped      = 24<<3 | varint
	tagBatchHeld         = 25<<3 | varint
	tagBatchFrames       = 30<<3 | length

	tagVersionsLowest  = 1<<3 | varint
	tagVersionsHighest = 2<<3 | varint

	tagHelloRelease         = 1<<3 | length
	tagHelloStreamWindow    = 2<<3 | varint
	tagHelloMaxMessageBytes = 3<<3 | varint

	tagWelcomeVersion          = 1<<3 | varint
	tagWelcomeRelease          = 2<<3 | length
	tagWelcomeHold             = 3<<3 | varint
	tagWelcomeResume           = 4<<3 | varint
	tagWelcomePauseMax         = 5<<3 | varint
	tagWelcomeStreamWindow     = 6<<3 | varint
	tagWelcomeSessionWindow    = 7<<3 | varint
	tagWelcomeMaxMessageBytes  = 8<<3 | varint
	tagWelcomeMaxBatchBytes    = 9<<3 | varint
	tagWelcomeMaxMetadataBytes = 10<<3 | varint
	tagWelcomeMaxStreams       = 11<<3 | varint
	tagWelcomeIgnoresTokens    = 12<<3 | varint
	tagWelcomeMaxExchanges     = 13<<3 | varint

	tagCloseCode       = 1<<3 | varint
	tagCloseMessage    = 2<<3 | length
	tagCloseRetryAfter = 3<<3 | varint
	tagCloseLimit      = 4<<3 | varint

	tagGoAwaySpread = 1<<3 | varint

	tagFrameSeq      = 1<<3 | varint
	tagFrameStream   = 2<<3 | varint
	tagFrameType     = 3<<3 | varint
	tagFrameCritical = 4<<3 | varint
	tagFrameOpen     = 5<<3 | length
	tagFrameHeaders  = 6<<3 | length
	tagFrameData     = 7<<3 | length
	tagFrameLength   = 8<<3 | varint
	tagFrameLimit    = 9<<3 | varint
	tagFrameEnd      = 10<<3 | length
	tagFrameClose    = 11<<3 | length

	tagOpenMethod         = 1<<3 | length
	tagOpenMetadata       = 2<<3 | length
	tagOpenTimeout        = 3<<3 | varint
	tagOpenCreated        = 4<<3 | varint
	tagOpenCompression    = 5<<3 | length
	tagOpenEarly          = 6<<3 | varint
	tagOpenContentSubtype = 7<<3 | length
	tagOpenWaitForReady   = 8<<3 | varint
	tagOpenSingleRequest  = 9<<3 | varint
	tagOpenSingleResponse = 10<<3 | varint

	tagMetadatumKey   = 1<<3 | length
	tagMetadatumValue = 2<<3 | length

	tagHeadersMetadata = 1<<3 | length

	tagEndStatus   = 1<<3 | varint
	tagEndMessage  = 2<<3 | length
	tagEndDetails  = 3<<3 | length
	tagEndTrailers = 4<<3 | length
	tagEndOrigin   = 5<<3 | varint
	tagEndReason   = 6<<3 | length
)
