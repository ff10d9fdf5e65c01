package client

import (
	"math"
	"reflect"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// defaultMaxReceive is grpc-go's default for MaxCallRecvMsgSize.
const defaultMaxReceive = 4 << 20

type idempotentOption struct{ grpc.EmptyCallOption }

// Idempotent marks one unary or server-streaming RPC as harmless to run twice.
// It is then sent before the session's first answer (rule O4), which saves a
// round trip, and sent again when its session was lost before anything of the
// answer came (rule E2). On an RPC that streams requests it is an error.
func Idempotent() grpc.CallOption { return idempotentOption{} }

// callOptions is what an RPC's grpc.CallOptions say.
type callOptions struct {
	codec          codec
	contentSubtype string
	compressor     string
	maxReceive     int
	maxSend        int
	waitForReady   bool
	idempotent     bool
	credentials    credentials.PerRPCCredentials
	header         []*metadata.MD
	trailer        []*metadata.MD
	peer           []*peer.Peer
	onFinish       []func(error)
}

// parseOptions reads the options in order; a later one wins. It returns an
// error for one that cannot be honoured, and what was read besides, so that
// OnFinish learns of it.
func parseOptions(groups ...[]grpc.CallOption) (callOptions, error) {
	o := callOptions{maxReceive: defaultMaxReceive, maxSend: math.MaxInt32}
	var failed error
	for _, group := range groups {
		for _, option := range group {
			if err := o.apply(option); err != nil && failed == nil {
				failed = err
			}
		}
	}
	if failed != nil {
		return o, failed
	}
	return o, o.chooseCodec()
}

func (o *callOptions) apply(option grpc.CallOption) error {
	switch v := option.(type) {
	case grpc.HeaderCallOption:
		o.header = append(o.header, v.HeaderAddr)
	case grpc.TrailerCallOption:
		o.trailer = append(o.trailer, v.TrailerAddr)
	case grpc.PeerCallOption:
		o.peer = append(o.peer, v.PeerAddr)
	case grpc.OnFinishCallOption:
		o.onFinish = append(o.onFinish, v.OnFinish)
	case grpc.FailFastCallOption:
		o.waitForReady = !v.FailFast
	case grpc.MaxRecvMsgSizeCallOption:
		o.maxReceive = v.MaxRecvMsgSize
	case grpc.MaxSendMsgSizeCallOption:
		o.maxSend = v.MaxSendMsgSize
	case grpc.PerRPCCredsCallOption:
		o.credentials = v.Creds
	case grpc.CompressorCallOption:
		o.compressor = v.CompressorType
	case grpc.ContentSubtypeCallOption:
		o.contentSubtype = strings.ToLower(v.ContentSubtype)
	case grpc.ForceCodecCallOption:
		o.codec = codecV1{v.Codec}
	case grpc.ForceCodecV2CallOption:
		o.codec = v.CodecV2
	case grpc.EmptyCallOption, grpc.StaticMethodCallOption:
	case grpc.MaxRetryRPCBufferSizeCallOption:
		// Nothing is kept for retries but what a session has not sent yet.
	case idempotentOption:
		o.idempotent = true
	default:
		if !embedsEmpty(option) {
			return status.Errorf(codes.Unimplemented, "client: call option %T cannot be honoured through a bridge", option)
		}
	}
	return nil
}

// embedsEmpty tells an option that says nothing to gRPC, as interceptors define
// them, from one that it would have obeyed.
func embedsEmpty(option grpc.CallOption) bool {
	t := reflect.TypeOf(option)
	if t == nil {
		return false
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return false
	}
	field, ok := t.FieldByName("EmptyCallOption")
	return ok && field.Anonymous && field.Type == reflect.TypeFor[grpc.EmptyCallOption]()
}

// chooseCodec follows grpc-go: a forced codec gives its name unless a
// content-subtype is given too, which else finds a registered codec.
func (o *callOptions) chooseCodec() error {
	if o.codec != nil {
		if o.contentSubtype == "" {
			o.contentSubtype = strings.ToLower(o.codec.Name())
		}
		return nil
	}
	name := o.contentSubtype
	if name == "" {
		name = proto.Name
	}
	if c := encoding.GetCodec(name); c != nil {
		o.codec = codecV1{c}
		return nil
	}
	if c := encoding.GetCodecV2(name); c != nil {
		o.codec = c
		return nil
	}
	return status.Errorf(codes.Internal, "no codec registered for content-subtype %s", name)
}

func (o *callOptions) finish(err error) {
	for _, f := range o.onFinish {
		f(err)
	}
}
