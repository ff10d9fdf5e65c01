// Package demo is the demo of "bridge demo": a gRPC service with one RPC of each
// kind and a chat, and a page that calls it through a bridge.
//
// [Register] adds the service to a gRPC server. [Page] returns the page's files:
// HTML, CSS and ES modules, without a build step and without external resources.
package demo

//go:generate protoc -I ../../proto --go_out=../.. --go_opt=module=github.com/pollbridge/pollbridge --go-grpc_out=../.. --go-grpc_opt=module=github.com/pollbridge/pollbridge pollbridge/demo/v1/demo.proto
