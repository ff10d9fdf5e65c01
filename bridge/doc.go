// Package bridge exposes gRPC services to web pages through any network that
// lets an HTTP/1.1 request through. A Server is an http.Handler: it serves
// sessions over long-polling and WebSocket, and is a gRPC client of its
// backends.
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
// One RPC is one session.Stream on the page's side and one backend.Call on the
// other; proxy.go joins the two, and status.go and metadata.go hold the rules
// of what crosses.
package bridge
