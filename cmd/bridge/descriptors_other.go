//go:build !unix

package main

// maxDescriptors is unknown: the platform has no such limit.
func maxDescriptors() uint64 { return 0 }
