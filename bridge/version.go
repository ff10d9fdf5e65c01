package bridge

import "runtime/debug"

const module = "github.com/pollbridge/pollbridge"

// Version is the release of this module that is linked in, without the leading
// "v"; "devel" where the build does not say.
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
