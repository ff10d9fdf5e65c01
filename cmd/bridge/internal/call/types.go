package call

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pollbridge/pollbridge/internal/schema"
)

// lookUp finds the method that the request names, in its descriptor set or at
// the server.
func lookUp(ctx context.Context, conn grpc.ClientConnInterface, request Request) (*schema.Method, error) {
	service, method, err := splitMethod(request.Method)
	if err != nil {
		return nil, err
	}
	types, err := typesOf(ctx, conn, service, request.Descriptors)
	if err != nil {
		return nil, err
	}
	found, err := types.Method(service, method)
	if err != nil {
		return nil, &InputError{err}
	}
	return found, nil
}

func typesOf(ctx context.Context, conn grpc.ClientConnInterface, service protoreflect.FullName, descriptors []byte) (*schema.Schema, error) {
	if descriptors != nil {
		types, err := schema.Parse(descriptors)
		if err != nil {
			return nil, &InputError{err}
		}
		return types, nil
	}
	types, err := schema.Reflect(ctx, conn, service)
	if _, unknown := errors.AsType[*schema.UnknownError](err); unknown {
		return nil, &InputError{err}
	}
	if none, ok := errors.AsType[*schema.NoReflectionError](err); ok {
		return nil, fmt.Errorf("the method's types are unknown, because the server has no reflection (%s); "+
			"give --descriptor-set FILE, or, if the backend has reflection, allow it: "+
			"bridge serve --allow-method '*' --allow-method 'grpc.reflection.*'", none.Status.Message())
	}
	if ended, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok { // not status.FromError, whose message has what err says around it
		return nil, fmt.Errorf("reflection: %s: %s", CodeName(ended.GRPCStatus().Code()), ended.GRPCStatus().Message())
	}
	return types, err
}
