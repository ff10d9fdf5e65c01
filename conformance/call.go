package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/pollbridge/pollbridge/conformance/gen/conformancepb"
)

// call runs the RPC that a case asks for. An error says that the case makes no
// sense; how the RPC ended is part of the result.
func call(ctx context.Context, cc grpc.ClientConnInterface, request *conformancepb.ClientCompatRequest) (*conformancepb.ClientResponseResult, error) {
	r, err := newRPC(request)
	if err != nil {
		return nil, err
	}
	if request.TimeoutMs != nil {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, milliseconds(request.GetTimeoutMs()))
		defer stop()
	}
	ctx, r.cancel = context.WithCancel(ctx)
	defer r.cancel()
	for _, h := range request.GetRequestHeaders() {
		for _, value := range h.GetValue() {
			ctx = metadata.AppendToOutgoingContext(ctx, h.GetName(), value)
		}
	}
	if !r.desc.ClientStreams && !r.desc.ServerStreams {
		r.unary(ctx, cc)
	} else {
		r.stream(ctx, cc)
	}
	return &r.result, nil
}

func milliseconds(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }

// rpc is a case in the making.
type rpc struct {
	request  *conformancepb.ClientCompatRequest
	method   string
	desc     grpc.StreamDesc
	reply    protoreflect.MessageType
	messages []proto.Message
	options  []grpc.CallOption
	cancel   context.CancelFunc
	result   conformancepb.ClientResponseResult
}

func newRPC(request *conformancepb.ClientCompatRequest) (*rpc, error) {
	name := request.GetService() + "/" + request.GetMethod()
	services := conformancepb.File_connectrpc_conformance_v1_service_proto.Services()
	service := services.ByName(protoreflect.FullName(request.GetService()).Name())
	if service == nil || string(service.FullName()) != request.GetService() {
		return nil, fmt.Errorf("no service %s", request.GetService())
	}
	method := service.Methods().ByName(protoreflect.Name(request.GetMethod()))
	if method == nil {
		return nil, fmt.Errorf("no method %s", name)
	}
	reply, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	if err != nil {
		return nil, err
	}
	r := &rpc{
		request: request,
		method:  "/" + name,
		desc:    grpc.StreamDesc{ClientStreams: method.IsStreamingClient(), ServerStreams: method.IsStreamingServer()},
		reply:   reply,
	}
	for _, m := range request.GetRequestMessages() {
		message, err := m.UnmarshalNew()
		if err != nil {
			return nil, err
		}
		r.messages = append(r.messages, message)
	}
	if !r.desc.ClientStreams && len(r.messages) != 1 {
		return nil, fmt.Errorf("%d messages for %s, which takes one", len(r.messages), name)
	}
	if request.GetCompression() == conformancepb.Compression_COMPRESSION_GZIP {
		r.options = append(r.options, grpc.UseCompressor("gzip"))
	}
	if limit := request.GetMessageReceiveLimit(); limit != 0 {
		r.options = append(r.options, grpc.MaxCallRecvMsgSize(int(limit)))
	}
	return r, nil
}

func (r *rpc) unary(ctx context.Context, cc grpc.ClientConnInterface) {
	if after, ok := r.cancelAfterCloseSend(); ok {
		defer time.AfterFunc(after, r.cancel).Stop()
	}
	var header, trailer metadata.MD
	reply := r.reply.New().Interface()
	err := cc.Invoke(ctx, r.method, r.messages[0], reply, append(r.options, grpc.Header(&header), grpc.Trailer(&trailer))...)
	if err == nil {
		r.received(reply)
	}
	r.end(err, header, trailer)
}

func (r *rpc) stream(ctx context.Context, cc grpc.ClientConnInterface) {
	stream, err := cc.NewStream(ctx, &r.desc, r.method, r.options...)
	if err != nil {
		r.end(err, nil, nil)
		return
	}
	if err = r.talk(stream); err == nil {
		err = r.listen(stream)
	}
	// After the end of an RPC its header is at hand, or there is none.
	header, _ := stream.Header()
	r.end(err, header, stream.Trailer())
}

// talk sends. It returns an error if the RPC is over.
func (r *rpc) talk(stream grpc.ClientStream) error {
	fullDuplex := r.request.GetStreamType() == conformancepb.StreamType_STREAM_TYPE_FULL_DUPLEX_BIDI_STREAM
	for i, message := range r.messages {
		time.Sleep(milliseconds(r.request.GetRequestDelayMs()))
		if err := stream.SendMsg(message); err != nil {
			r.unsent(len(r.messages) - i)
			if errors.Is(err, io.EOF) {
				break // the status is to be had by receiving
			}
			return err
		}
		if !fullDuplex {
			continue
		}
		if err := r.receive(stream); err != nil {
			r.unsent(len(r.messages) - i - 1)
			return err
		}
	}
	if _, ok := r.request.GetCancel().GetCancelTiming().(*conformancepb.ClientCompatRequest_Cancel_BeforeCloseSend); ok {
		r.cancel()
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if after, ok := r.cancelAfterCloseSend(); ok {
		time.Sleep(after)
		r.cancel()
	}
	return nil
}

// listen receives to the end, which it returns.
func (r *rpc) listen(stream grpc.ClientStream) error {
	for {
		if err := r.receive(stream); err != nil || !r.desc.ServerStreams {
			return err
		}
	}
}

func (r *rpc) receive(stream grpc.ClientStream) error {
	reply := r.reply.New().Interface()
	if err := stream.RecvMsg(reply); err != nil {
		return err
	}
	r.received(reply)
	return nil
}

func (r *rpc) received(reply proto.Message) {
	payload := &conformancepb.ConformancePayload{}
	if m, ok := reply.(interface {
		GetPayload() *conformancepb.ConformancePayload
	}); ok && m.GetPayload() != nil {
		payload = m.GetPayload()
	}
	r.result.Payloads = append(r.result.Payloads, payload)
	if n := r.request.GetCancel().GetAfterNumResponses(); n != 0 && len(r.result.Payloads) == int(n) {
		r.cancel()
	}
}

func (r *rpc) unsent(n int) { r.result.NumUnsentRequests = int32(n) } //nolint:gosec // a handful

func (r *rpc) cancelAfterCloseSend() (time.Duration, bool) {
	switch timing := r.request.GetCancel().GetCancelTiming().(type) {
	case *conformancepb.ClientCompatRequest_Cancel_AfterCloseSendMs:
		return milliseconds(timing.AfterCloseSendMs), true
	case nil:
		return 0, r.request.GetCancel() != nil
	default:
		return 0, false
	}
}

func (r *rpc) end(err error, header, trailer metadata.MD) {
	r.result.ResponseHeaders = headers(header)
	r.result.ResponseTrailers = headers(trailer)
	if err == nil || errors.Is(err, io.EOF) {
		return
	}
	s := status.Convert(err).Proto()
	r.result.Error = &conformancepb.Error{Code: conformancepb.Code(s.GetCode()), Message: &s.Message, Details: s.GetDetails()}
}

func headers(md metadata.MD) []*conformancepb.Header {
	var list []*conformancepb.Header
	for key, values := range md {
		h := &conformancepb.Header{Name: key}
		for _, value := range values {
			if strings.HasSuffix(key, "-bin") {
				value = base64.RawStdEncoding.EncodeToString([]byte(value))
			}
			h.Value = append(h.Value, value)
		}
		list = append(list, h)
	}
	return list
}
