// Package light has clients that cost the machine as little as possible, so
// that on two cores the load does not hide what is measured: their own HTTP/1.1
// and WebSocket, messages built beforehand, no goroutine where a caller's will do.
//
// They trust their servers and are of no use but for measuring.
package light
