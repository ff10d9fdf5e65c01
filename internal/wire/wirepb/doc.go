// Package wirepb is the generated code of the wire's schema. Only tests use
// it: the codec in internal/wire is held equal to it.
package wirepb

//go:generate protoc -I ../../../proto --go_out=../../.. --go_opt=module=github.com/pollbridge/pollbridge pollbridge/v1/pollbridge.proto
