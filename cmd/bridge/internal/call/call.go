// Package call makes an RPC of any kind by its name, with messages in JSON. Types
// come from a descriptor set, or from the server by reflection.
package call

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pollbridge/pollbridge/internal/schema"
)

// Request is the RPC to make.
type Request struct {
	// Method is "package.Service/Method".
	Method string
	// Messages are sent in order, each as soon as it is read.
	Messages Messages
	// Metadata is the request's metadata.
	Metadata metadata.MD
	// Descriptors is a serialized FileDescriptorSet that has the method; nil: use
	// the server's reflection.
	Descriptors []byte
	// Compact prints each response on one line.
	Compact bool
	// Headers also prints response headers and trailers, to Notes.
	Headers bool
	Notes   io.Writer
}

// InputError is an error of the request: a method that does not exist, or a
// message that is not of its type.
type InputError struct{ err error }

func (e *InputError) Error() string { return e.err.Error() }
func (e *InputError) Unwrap() error { return e.err }

func inputErrorf(format string, args ...any) error {
	return &InputError{fmt.Errorf(format, args...)}
}

// Run makes the RPC and prints each response to out as it arrives. It returns a
// *StatusError if the RPC ends with a status other than OK.
func Run(ctx context.Context, conn grpc.ClientConnInterface, request Request, out io.Writer) error {
	method, err := lookUp(ctx, conn, request)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, request.Metadata))
	defer cancel()
	rpc := &rpc{request: request, method: method, out: out}
	return rpc.run(ctx, cancel, conn)
}

func splitMethod(name string) (service protoreflect.FullName, method protoreflect.Name, err error) {
	s, m, ok := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	service, method = protoreflect.FullName(s), protoreflect.Name(m)
	if !ok || !service.IsValid() || !method.IsValid() {
		return "", "", inputErrorf("%q is not a method, want package.Service/Method", name)
	}
	return service, method, nil
}

// rpc is an RPC whose types are known.
type rpc struct {
	request Request
	method  *schema.Method
	out     io.Writer
}

func (r *rpc) run(ctx context.Context, cancel context.CancelFunc, conn grpc.ClientConnInterface) error {
	messages, err := r.messages()
	if err != nil {
		return err
	}
	desc := &grpc.StreamDesc{
		StreamName:    string(r.method.Name()),
		ClientStreams: r.method.IsStreamingClient(),
		ServerStreams: r.method.IsStreamingServer(),
	}
	stream, err := conn.NewStream(ctx, desc, fmt.Sprintf("/%s/%s", r.method.Parent().FullName(), r.method.Name()))
	if err != nil {
		return r.statusError(err)
	}
	sent := make(chan error, 1)
	go func() {
		err := r.send(stream, messages)
		sent <- err
		if err != nil {
			cancel() // the server must not treat the messages as complete
		}
	}()
	received := r.receive(stream)
	// Do not wait for the sender: it may be reading input that never ends.
	select {
	case err := <-sent:
		return cmp.Or(err, received)
	default:
		return received
	}
}

// messages returns the messages to send, checked as far as possible before the RPC
// starts: if the method takes a single message there is exactly one, by default an
// empty one.
func (r *rpc) messages() (Messages, error) {
	if r.method.IsStreamingClient() {
		return r.request.Messages, nil
	}
	var first Message
	count := 0
	for m, err := range r.request.Messages {
		if err != nil {
			return nil, err
		}
		if count++; count > 1 {
			return nil, inputErrorf("%s takes one message, but %s is a second one", r.method.FullName(), m.Source)
		}
		first = m
	}
	if count == 0 {
		first = Message{Source: "no -d", JSON: json.RawMessage("{}")}
	}
	if _, err := r.parse(first); err != nil {
		return nil, err
	}
	return func(yield func(Message, error) bool) { yield(first, nil) }, nil
}

func (r *rpc) parse(m Message) (proto.Message, error) {
	message, err := r.method.Request(m.JSON, false)
	if err != nil {
		return nil, inputErrorf("%s is %w", m.Source, err)
	}
	return message, nil
}

// send sends all messages. It returns errors of input only: receive returns the
// RPC's status.
func (r *rpc) send(stream grpc.ClientStream, messages Messages) error {
	for m, err := range messages {
		if err != nil {
			return err
		}
		message, err := r.parse(m)
		if err != nil {
			return err
		}
		if stream.SendMsg(message) != nil {
			return nil
		}
	}
	_ = stream.CloseSend() // fails only with the RPC
	return nil
}

func (r *rpc) receive(stream grpc.ClientStream) error {
	if r.request.Headers {
		if header, err := stream.Header(); err == nil {
			r.note("header", header)
		}
	}
	err := r.print(stream)
	if r.request.Headers {
		r.note("trailer", stream.Trailer())
	}
	return err
}

func (r *rpc) print(stream grpc.ClientStream) error {
	for {
		message := r.method.NewResponse()
		err := stream.RecvMsg(message)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return r.statusError(err)
		}
		text, err := r.json(message, r.request.Compact)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(r.out, "%s\n", text); err != nil {
			return err
		}
		if !r.method.IsStreamingServer() {
			return nil
		}
	}
}

// json returns the message in a stable form, which that of protojson deliberately
// is not.
func (r *rpc) json(message proto.Message, compact bool) ([]byte, error) {
	text, err := r.method.JSON(message)
	if err != nil {
		return nil, fmt.Errorf("response: %w", err)
	}
	var b bytes.Buffer
	if compact {
		err = json.Compact(&b, text)
	} else {
		err = json.Indent(&b, text, "", "  ")
	}
	return b.Bytes(), err
}

func (r *rpc) note(what string, md metadata.MD) {
	keys := make([]string, 0, len(md))
	for key := range md {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		for _, v := range md[key] {
			if strings.HasSuffix(key, "-bin") {
				v = encodeBinary(v)
			}
			fmt.Fprintf(r.request.Notes, "%s %s: %s\n", what, key, v)
		}
	}
}

// StatusError is an RPC's status other than OK, with its details.
type StatusError struct {
	Status  *status.Status
	Details []string // in JSON
}

// Error returns a line for the status and one for each detail.
func (e *StatusError) Error() string {
	var text strings.Builder
	text.WriteString(CodeName(e.Status.Code()))
	if e.Status.Message() != "" {
		text.WriteString(": " + e.Status.Message())
	}
	for _, d := range e.Details {
		text.WriteString("\ndetail: " + d)
	}
	return text.String()
}

func (r *rpc) statusError(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	e := &StatusError{Status: s}
	for _, detail := range s.Proto().GetDetails() {
		text, err := r.json(detail, true)
		if err != nil {
			text = fmt.Appendf(nil, "%s of unknown type, %d bytes", detail.GetTypeUrl(), len(detail.GetValue()))
		}
		e.Details = append(e.Details, string(text))
	}
	return e
}
