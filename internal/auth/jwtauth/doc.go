// Package jwtauth authenticates clients by signed tokens (RFC 7519) with the
// keys that their issuer publishes (RFC 7517). It is a bridge.Config's
// Authenticate.
package jwtauth
