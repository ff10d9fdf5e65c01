package schema

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Bounds on what a server may answer with.
const (
	maxFiles = 2000
	maxBytes = 32 << 20
)

// reflectionMethods are the versions of the service, whose messages are the
// same on the wire. Some servers have only the older one.
var reflectionMethods = []string{
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}

// NoReflectionError says that a server has no reflection, or keeps it back.
type NoReflectionError struct{ Status *status.Status }

func (e *NoReflectionError) Error() string {
	return "the server has no reflection: " + e.Status.Message()
}

// Reflect asks a server for the file that defines a service, and for all that it
// imports. The error is an *UnknownError for a service that the server does not
// know, a *NoReflectionError, or any other of the RPC's.
func Reflect(ctx context.Context, conn grpc.ClientConnInterface, service protoreflect.FullName) (*Schema, error) {
	var err error
	for _, method := range reflectionMethods {
		var set *descriptorpb.FileDescriptorSet
		if set, err = reflectBy(ctx, conn, method, service); err == nil {
			return newSchema(set)
		}
		if _, older := errors.AsType[*NoReflectionError](err); !older {
			return nil, err
		}
	}
	return nil, err
}

func reflectBy(ctx context.Context, conn grpc.ClientConnInterface, method string, service protoreflect.FullName) (*descriptorpb.FileDescriptorSet, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return nil, reflectionError(err)
	}
	r := &reflector{stream: stream, files: map[string]*descriptorpb.FileDescriptorProto{}}
	ask := &reflection.ServerReflectionRequest{
		MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: string(service)},
	}
	for ask != nil {
		if err := r.fetch(ask); err != nil {
			return nil, err
		}
		ask = nil
		if name := r.missing(); name != "" {
			ask = &reflection.ServerReflectionRequest{
				MessageRequest: &reflection.ServerReflectionRequest_FileByFilename{FileByFilename: name},
			}
		}
	}
	return &descriptorpb.FileDescriptorSet{File: slices.Collect(maps.Values(r.files))}, nil
}

// reflector collects the files that a server answers with.
type reflector struct {
	stream grpc.ClientStream
	files  map[string]*descriptorpb.FileDescriptorProto
	bytes  int
}

func (r *reflector) fetch(ask *reflection.ServerReflectionRequest) error {
	answer := new(reflection.ServerReflectionResponse)
	_ = r.stream.SendMsg(ask) // what is wrong is to be had by receiving
	if err := r.stream.RecvMsg(answer); err != nil {
		return reflectionError(err)
	}
	if failure := answer.GetErrorResponse(); failure != nil {
		if codes.Code(failure.GetErrorCode()) == codes.NotFound { //nolint:gosec // whatever it is, it is compared
			return unknown("the server does not know %s%s", ask.GetFileContainingSymbol(), ask.GetFileByFilename())
		}
		return reflectionError(status.Error(codes.Code(failure.GetErrorCode()), failure.GetErrorMessage())) //nolint:gosec // as it came
	}
	before := len(r.files)
	for _, data := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
		if r.bytes += len(data); r.bytes > maxBytes || len(r.files) > maxFiles {
			return fmt.Errorf("reflection: descriptors over %d bytes or %d files", maxBytes, maxFiles)
		}
		file := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(data, file); err != nil {
			return fmt.Errorf("reflection: descriptor: %s", plain(err))
		}
		r.files[file.GetName()] = file
	}
	if len(r.files) == before {
		return errors.New("reflection: the server answered without the file that was asked for")
	}
	return nil
}

// missing is an import that is not there yet, or "".
func (r *reflector) missing() string {
	for _, file := range r.files {
		for _, name := range file.GetDependency() {
			if r.files[name] == nil {
				return name
			}
		}
	}
	return ""
}

func reflectionError(err error) error {
	s := status.Convert(err)
	if s.Code() == codes.Unimplemented {
		return &NoReflectionError{s}
	}
	return fmt.Errorf("reflection: %w", s.Err())
}
