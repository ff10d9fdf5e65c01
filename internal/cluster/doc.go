// Package cluster lets any bridge of a cluster take any request. A session stays
// where its Hello landed, at its owner; a link that lands at another bridge is
// carried to the owner over NATS, one hop, at the seam of transport.Acceptor. See
// docs/PROTOCOL.md, section 8, and docs/adr/0017.
//
// "Out" is the side where a link landed and from which it is forwarded, "in" the
// side of the session's owner.
package cluster
