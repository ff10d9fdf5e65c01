// Package demo is what `bridge demo` shows: a gRPC service with one RPC of each
// kind and a chat, and a page that calls it through a bridge.
//
// [Register] adds the service to a gRPC server. [Page] is the page's files: HTML,
// CSS and ES modules, without build step and without anything from outside, fit
// for [ContentSecurityPolicy].
package demo

//go:generate protoc -I ../../proto --go_out=../.. --go_opt=module=github.com/pollbridge/pollbridge --go-grpc_out=../.. --go-grpc_opt=module=github.com/pollbridge/pollbridge pollbridge/demo/v1/demo.proto
