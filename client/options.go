package client

import (
	"math"
	"reflect"
	"strings"
	"unicode/utf8"

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

// Idempotent marks a unary or server-streaming RPC as safe to run twice. It is
// then sent before the session's Welcome (rule O4), which saves a round trip, and
// retried if its session is lost before any part of the response arrived (rule
// E2). On an RPC that streams requests it is an error.
func Idempotent() grpc.CallOption { return idempotentOption{} }

// callOptions are an RPC's grpc.CallOptions.
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

// parseOptions applies the options in order; a later one wins. If one cannot be
// honoured it returns the error with the other options, so that OnFinish is
// called.
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
	if err := o.chooseCodec(); err != nil {
		return o, err
	}
	if !utf8.ValidString(o.compressor + o.contentSubtype) { // no bridge could read it
		return o, status.Errorf(codes.Internal, "client: compressor %q or content-subtype %q is not UTF-8", o.compressor, o.contentSubtype)
	}
	return o, nil
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
		// Ignored: what is kept for retries was not sent, and needs no bound.
	case idempotentOption:
		o.idempotent = true
	default:
		if !embedsEmpty(option) {
			return status.Errorf(codes.Unimplemented, "client: call option %T cannot be honoured through a bridge", option)
		}
	}
	return nil
}

// embedsEmpty reports whether an option means nothing to gRPC itself, as those
// that interceptors define.
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

// chooseCodec selects the codec as grpc-go does: a forced codec's name is the
// default content-subtype; without one, the content-subtype selects a registered
// codec.
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
