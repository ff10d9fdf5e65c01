package client

import (
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// idempotency caches which methods are declared idempotent: by the option
// idempotency_level in the descriptors linked into the program.
type idempotency struct{ methods sync.Map }

func (i *idempotency) declared(method string) bool {
	if known, ok := i.methods.Load(method); ok {
		return known.(bool)
	}
	found := lookUp(method)
	i.methods.Store(method, found)
	return found
}

func lookUp(method string) bool {
	name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
	descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return false
	}
	options, ok := descriptor.Options().(*descriptorpb.MethodOptions)
	return ok && options.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}
