// Package access decides who may use a transport: which pages (Origin), under
// which Host, and from which address. Both transports share one [Policy], so
// that a page refused by one is refused by the other.
//
// A request is admitted when all of this holds:
//
//   - Host. Over a loopback connection Host must be loopback too, or one that
//     is allowed, or else a foreign page could reach the bridge by pointing its
//     own name at 127.0.0.1 (DNS rebinding). Hosts that are allowed expressly
//     are held over every connection.
//   - Origin. It is on the allowed list; or Sec-Fetch-Site is same-origin; or,
//     where the browser does not send that header, Origin's scheme, host and
//     port equal the request's, of which X-Forwarded-Host and X-Forwarded-Proto
//     of a trusted proxy tell. Without any Origin it is not a browser that asks:
//     admitted, unless its Content-Type is one that a page may send anywhere
//     without a preflight.
//
// A refusal is a 403 whose text names the Origin and the flag that would allow
// it. It carries Access-Control-Allow-Origin, so that the refused page can read
// just that; a preflight by a refused page carries none.
package access
