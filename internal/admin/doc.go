// Package admin serves operators: a page, and an API in JSON, of what a bridge is
// doing, with the means to disconnect a session and to drain the bridge.
//
//	GET    /api/v1/overview
//	GET    /api/v1/sessions?filter=&transport=&sort=&offset=&limit=
//	GET    /api/v1/sessions/{id}
//	DELETE /api/v1/sessions/{id}
//	POST   /api/v1/drain
//
// A GET that accepts text/event-stream gets the same document as server-sent
// events, again each second.
package admin
