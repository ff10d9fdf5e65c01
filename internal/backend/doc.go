// Package backend is the gRPC side of the bridge. A Pool has the channels to one
// backend, which are dialled once, kept alive, watched and shared; a Call is one
// RPC on one of them. Messages pass through as bytes, without a copy of their
// payload. The package knows neither HTTP nor sessions.
package backend
