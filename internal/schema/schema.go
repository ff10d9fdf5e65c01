// Package schema knows the types of services, from a descriptor set or by
// asking their server for them (gRPC server reflection), and takes messages
// from JSON to protobuf and back.
package schema

import (
	"fmt"
	"slices"
	"strings"

	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // so that details of these types can be read
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Schema is a set of files with services and their types. It does not change.
type Schema struct {
	files *protoregistry.Files
	types resolver
}

// UnknownError says that there is no service or method of a name.
type UnknownError struct{ text string }

func (e *UnknownError) Error() string { return e.text }

func unknown(format string, args ...any) error {
	return &UnknownError{fmt.Sprintf(format, args...)}
}

// Parse reads a serialized FileDescriptorSet, which holds all that it imports.
func Parse(data []byte) (*Schema, error) {
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(data, set); err != nil {
		return nil, fmt.Errorf("not a descriptor set: %s; protoc --include_imports --descriptor_set_out=FILE makes one", plain(err))
	}
	return newSchema(set)
}

func newSchema(set *descriptorpb.FileDescriptorSet) (*Schema, error) {
	files, err := protodesc.FileOptions{AllowUnresolvable: true}.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("descriptors: %s", plain(err))
	}
	return &Schema{files, resolver{dynamicpb.NewTypes(files)}}, nil
}

// Has reports whether the schema has a service.
func (s *Schema) Has(service protoreflect.FullName) bool {
	_, ok := s.service(service)
	return ok
}

func (s *Schema) service(name protoreflect.FullName) (protoreflect.ServiceDescriptor, bool) {
	descriptor, err := s.files.FindDescriptorByName(name)
	if err != nil {
		return nil, false
	}
	service, ok := descriptor.(protoreflect.ServiceDescriptor)
	return service, ok
}

// Method finds a method. The error is an *UnknownError that names those that
// are there.
func (s *Schema) Method(service protoreflect.FullName, method protoreflect.Name) (*Method, error) {
	found, ok := s.service(service)
	if !ok {
		return nil, unknown("no service %s, have %s", service, list(s.services()))
	}
	if m := found.Methods().ByName(method); m != nil {
		return &Method{m, s.types}, nil
	}
	var names []string
	for i := range found.Methods().Len() {
		names = append(names, string(found.Methods().Get(i).Name()))
	}
	return nil, unknown("no method %s in %s, have %s", method, service, list(names))
}

func (s *Schema) services() []string {
	var names []string
	s.files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
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

// Method is a method and the types that its messages are made of.
type Method struct {
	protoreflect.MethodDescriptor
	types resolver
}

// Request reads a request from JSON. Fields that the type does not have are an
// error, unless they are to be left out.
func (m *Method) Request(json []byte, leaveOutUnknown bool) (proto.Message, error) {
	message := dynamicpb.NewMessage(m.Input())
	options := protojson.UnmarshalOptions{Resolver: m.types, DiscardUnknown: leaveOutUnknown}
	if err := options.Unmarshal(json, message); err != nil {
		return nil, fmt.Errorf("not a %s: %s", m.Input().FullName(), plain(err))
	}
	return message, nil
}

// NewResponse returns an empty response.
func (m *Method) NewResponse() proto.Message { return dynamicpb.NewMessage(m.Output()) }

// JSON writes a message that may hold, in an Any, others of the same files.
func (m *Method) JSON(message proto.Message) ([]byte, error) {
	text, err := protojson.MarshalOptions{Resolver: m.types}.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", message.ProtoReflect().Descriptor().FullName(), plain(err))
	}
	return text, nil
}

// resolver looks types up among the schema's, and then among this program's.
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

// plain drops the random space that protobuf's errors begin with.
func plain(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	return strings.TrimPrefix(text, "proto: ")
}
