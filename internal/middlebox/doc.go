// Package middlebox is a faulty HTTP proxy for tests: it does on purpose what
// proxies, firewalls and load balancers do by configuration or by mistake. A
// Profile says what, in any combination, and can be changed while it runs.
//
// It works as a forward proxy (absolute-form requests and CONNECT), as a
// reverse proxy, and with a CA of its own as one that looks into TLS. It takes
// any listener and any dialer, so it runs over sockets as well as over pipes
// in a testing/synctest bubble. See README.md.
package middlebox
