package demo

import (
	"context"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// header names the bridge, for the page of a demo with several: in HTTP responses the
// one where the request landed, in the headers of RPCs the session's own.
const header = "demo-bridge"

// Named returns the options of a server before which there is the bridge of that name,
// which is in the headers of its RPCs; none without a name.
func Named(name string) []grpc.ServerOption {
	if name == "" {
		return nil
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, in any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if err := grpc.SetHeader(ctx, metadata.Pairs(header, name)); err != nil {
				return nil, err
			}
			return handle(ctx, in)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			if err := stream.SetHeader(metadata.Pairs(header, name)); err != nil {
				return err
			}
			return handle(srv, stream)
		}),
	}
}

// NameBridge adds the bridge's name to each response, if it has one.
func NameBridge(name string, next http.Handler) http.Handler {
	if name == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(header, name)
		next.ServeHTTP(w, r)
	})
}
