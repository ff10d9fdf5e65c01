// Package clusterpb is the generated code of what bridges say to one another.
package clusterpb

//go:generate protoc -I ../../../proto --go_out=../../.. --go_opt=module=github.com/pollbridge/pollbridge pollbridge/cluster/v1/cluster.proto
