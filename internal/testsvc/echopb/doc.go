// Package echopb is generated from echo.proto.
package echopb

//go:generate protoc -I ../../.. --go_out=../../.. --go_opt=paths=source_relative --go-grpc_out=../../.. --go-grpc_opt=paths=source_relative internal/testsvc/echopb/echo.proto
