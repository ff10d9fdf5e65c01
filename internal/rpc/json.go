package rpc

import (
	"bytes"
	"context"
	"errors"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/internal/schema"
)

// Types are what turns a call's JSON into protobuf and back.
type Types interface {
	// Method finds a method by its name.
	Method(ctx context.Context, name string) (*schema.Method, error)
	// Newer is Method after asking again, where that is worth it.
	Newer(ctx context.Context, name string) (*schema.Method, error)
}

// jsonFactor is about how many bytes a message takes in memory, between JSON and
// protobuf, for each of its JSON: so many for lists of empty messages.
const jsonFactor = 32

// converter takes a call's messages from JSON to protobuf and back.
type converter struct {
	types  Types
	name   string
	method *schema.Method
	budget *budget
}

// newConverter returns the converter for a method. The error is for the client.
func newConverter(ctx context.Context, types Types, name string, b *budget) (*converter, error) {
	method, err := types.Method(ctx, name)
	if err != nil {
		return nil, typesError(ctx, err)
	}
	return &converter{types, name, method, b}, nil
}

// Convert implements Call.
func (c *httpCall) Convert(ctx context.Context, types Types) (*schema.Method, error) {
	name := c.request.URL.Path
	to, err := newConverter(ctx, types, name, &c.handler.budget)
	if err == nil && c.form.unary && (to.method.IsStreamingClient() || to.method.IsStreamingServer()) {
		err = connect.Errorf(connect.CodeUnimplemented, "%s is a stream, for application/connect+json", name)
	}
	if err != nil {
		c.fail(err)
		return nil, err
	}
	c.converter = to
	return to.method, nil
}

// toBinary takes a request from JSON to protobuf. Fields that the backend's
// types do not have are left out, as servers of these protocols do, once it is
// sure that it has none of that name.
func (c *converter) toBinary(ctx context.Context, pieces [][]byte) ([]byte, error) {
	text := bytes.Join(pieces, nil)
	if len(text) == 0 {
		return nil, nil // nothing at all is a message with no field set
	}
	if err := c.budget.take(len(text) * jsonFactor); err != nil {
		return nil, err
	}
	defer c.budget.give(len(text) * jsonFactor)
	message, err := c.request(ctx, text)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, "request: "+err.Error())
	}
	binary, err := proto.Marshal(message)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, "request: "+err.Error())
	}
	return binary, nil
}

func (c *converter) request(ctx context.Context, text []byte) (proto.Message, error) {
	message, err := c.method.Request(text, false)
	if err == nil {
		return message, nil
	}
	if message, err = c.method.Request(text, true); err != nil {
		return nil, err
	}
	newer, err := c.types.Newer(ctx, c.name)
	if err != nil || newer == c.method {
		return message, nil
	}
	c.method = newer
	return newer.Request(text, true)
}

// typesError is what a client is told where a method's types are not to be had.
func typesError(ctx context.Context, err error) error {
	if known, ok := errors.AsType[*connect.Error](err); ok {
		return known
	}
	if _, ok := errors.AsType[*schema.UnknownError](err); ok {
		return connect.NewError(connect.CodeUnimplemented, err.Error())
	}
	if _, ok := errors.AsType[*schema.NoReflectionError](err); ok {
		return connect.Errorf(connect.CodeUnimplemented, "JSON needs the method's types: %v; give the bridge --descriptors FILE, "+
			"or --backend-json where the backend speaks JSON itself", err)
	}
	switch ctx.Err() {
	case context.DeadlineExceeded:
		return connect.NewError(connect.CodeDeadlineExceeded, "the method's types came too late")
	case context.Canceled:
		return connect.NewError(connect.CodeCanceled, "cancelled")
	}
	return connect.Errorf(connect.CodeUnavailable, "the method's types are not to be had: %v", err)
}

// toJSON takes a response from protobuf to JSON.
func (c *converter) toJSON(pieces [][]byte) ([][]byte, error) {
	binary := bytes.Join(pieces, nil)
	if err := c.budget.take(len(binary) * jsonFactor); err != nil {
		return nil, err
	}
	defer c.budget.give(len(binary) * jsonFactor)
	method := c.method
	message := method.NewResponse()
	if err := proto.Unmarshal(binary, message); err != nil {
		return nil, connect.Errorf(connect.CodeInternal, "response is no %s: %v", method.Output().FullName(), err)
	}
	text, err := method.JSON(message)
	if err != nil {
		return nil, connect.Errorf(connect.CodeInternal, "response: %v", err)
	}
	return [][]byte{text}, nil
}
