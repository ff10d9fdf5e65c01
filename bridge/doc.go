// Package bridge exposes gRPC services to web pages through any network that
// lets an HTTP/1.1 request through. A Server is an http.Handler: it serves
// sessions over long-polling and WebSocket, and calls its backends with gRPC.
//
//	srv, err := bridge.New(bridge.Config{
//		Backends: []bridge.Backend{{Target: "127.0.0.1:50051"}},
//	})
//	if err != nil {
//		return err
//	}
//	defer srv.Shutdown(ctx)
//	return http.ListenAndServe(":8080", srv)
//
// An RPC is a registry.Stream on the page's side and a backend.Call on the
// backend's; proxy.go joins the two, and status.go and metadata.go define what
// crosses.
package bridge
