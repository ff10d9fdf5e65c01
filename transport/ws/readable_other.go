//go:build !linux && !darwin

package ws

// canPoll tells that readable can be asked.
const canPoll = false

func readable(uintptr) bool { return true }
