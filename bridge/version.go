package bridge

import "runtime/debug"

const module = "github.com/pollbridge/pollbridge"

// Version returns the version of this module in the running program, without the
// leading "v", or "devel" if the build does not record it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	version := ""
	if info.Main.Path == module {
		version = info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			version = dep.Version
		}
	}
	if version == "" || version == "(devel)" {
		return "devel"
	}
	return version[1:]
}
