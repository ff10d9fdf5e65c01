package call

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// known holds the known types of a server.
type known struct {
	files *protoregistry.Files
	types resolver
}

func lookUp(ctx context.Context, conn grpc.ClientConnInterface, service protoreflect.FullName, request Request) (*known, error) {
	set := &descriptorpb.FileDescriptorSet{}
	if request.Descriptors != nil {
		if err := proto.Unmarshal(request.Descriptors, set); err != nil {
			return nil, inputErrorf("not a descriptor set: %s; protoc --include_imports --descriptor_set_out=FILE makes one", plain(err))
		}
	} else {
		var err error
		if set, err = reflectOn(ctx, conn, service); err != nil {
			return nil, err
		}
	}
	files, err := protodesc.FileOptions{AllowUnresolvable: true}.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("descriptors: %s", plain(err))
	}
	return &known{files: files, types: resolver{dynamicpb.NewTypes(files)}}, nil
}

// method returns a method. The error names those that exist.
func (k *known) method(service protoreflect.FullName, method protoreflect.Name) (protoreflect.MethodDescriptor, error) {
	descriptor, err := k.files.FindDescriptorByName(service)
	found, ok := descriptor.(protoreflect.ServiceDescriptor)
	if err != nil || !ok {
		return nil, inputErrorf("no service %s, have %s", service, list(k.services()))
	}
	if m := found.Methods().ByName(method); m != nil {
		return m, nil
	}
	var names []string
	for i := range found.Methods().Len() {
		names = append(names, string(found.Methods().Get(i).Name()))
	}
	return nil, inputErrorf("no method %s in %s, have %s", method, service, list(names))
}

func (k *known) services() []string {
	var names []string
	k.files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			names = append(names, string(file.Services().Get(i).FullName()))
		}
		return true
	})
	slices.Sort(names)
	return names
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// resolver looks up types among the server's, then among this program's.
type resolver struct{ *dynamicpb.Types }

func (r resolver) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if t, err := r.Types.FindMessageByName(name); err == nil {
		return t, nil
	}
	return protoregistry.GlobalTypes.FindMessageByName(name)
}

func (r resolver) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	if t, err := r.Types.FindMessageByURL(url); err == nil {
		return t, nil
	}
	return protoregistry.GlobalTypes.FindMessageByURL(url)
}

// reflectOn gets the file that defines the service, and its imports, from the
// server.
func reflectOn(ctx context.Context, conn grpc.ClientConnInterface, service protoreflect.FullName) (*descriptorpb.FileDescriptorSet, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := reflection.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		return nil, reflectionError(err)
	}
	files := map[string]*descriptorpb.FileDescriptorProto{}
	ask := &reflection.ServerReflectionRequest{
		MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: string(service)},
	}
	for ask != nil {
		if err := fetch(stream, ask, files); err != nil {
			return nil, err
		}
		ask = nil
		if name := missing(files); name != "" {
			ask = &reflection.ServerReflectionRequest{
				MessageRequest: &reflection.ServerReflectionRequest_FileByFilename{FileByFilename: name},
			}
		}
	}
	return &descriptorpb.FileDescriptorSet{File: slices.Collect(maps.Values(files))}, nil
}

// fetch adds the files of the server's answer.
func fetch(stream reflection.ServerReflection_ServerReflectionInfoClient, ask *reflection.ServerReflectionRequest, files map[string]*descriptorpb.FileDescriptorProto) error {
	if stream.Send(ask) != nil {
		_, err := stream.Recv() // has the reason
		return reflectionError(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		return reflectionError(err)
	}
	if failure := answer.GetErrorResponse(); failure != nil {
		if codes.Code(failure.GetErrorCode()) == codes.NotFound {
			return inputErrorf("the server does not know %s%s", ask.GetFileContainingSymbol(), ask.GetFileByFilename())
		}
		return fmt.Errorf("reflection: %s: %s", CodeName(codes.Code(failure.GetErrorCode())), failure.GetErrorMessage())
	}
	before := len(files)
	for _, data := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
		file := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(data, file); err != nil {
			return fmt.Errorf("reflection: descriptor: %s", plain(err))
		}
		files[file.GetName()] = file
	}
	if len(files) == before {
		return errors.New("reflection: the server's answer has no file")
	}
	return nil
}

// missing returns an import that is still missing, or "".
func missing(files map[string]*descriptorpb.FileDescriptorProto) string {
	for _, file := range files {
		for _, name := range file.GetDependency() {
			if files[name] == nil {
				return name
			}
		}
	}
	return ""
}

// reflectionError returns an error of reflection, with advice if the server has
// none.
func reflectionError(err error) error {
	if status.Code(err) == codes.Unimplemented {
		return fmt.Errorf("the method's types are unknown, because the server has no reflection (%s); "+
			"give --descriptor-set FILE, or, if the backend has reflection, allow it: "+
			"bridge serve --allow-method '*' --allow-method 'grpc.reflection.*'", status.Convert(err).Message())
	}
	s := status.Convert(err)
	return fmt.Errorf("reflection: %s: %s", CodeName(s.Code()), s.Message())
}
