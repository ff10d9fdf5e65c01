package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pollbridge/pollbridge/internal/wire"
)

func newVersion() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Print the version of this binary, the revision and Go release it was built from,
and the protocol versions it speaks.`,
		Example: `  bridge version
  bridge version --json`,
		Args: takes(),
		RunE: func(command *cobra.Command, _ []string) error {
			return currentVersion().print(command.OutOrStdout(), asJSON)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return command
}

// versionInfo is the output of "bridge version --json".
type versionInfo struct {
	Version  string   `json:"version"`
	Revision string   `json:"revision,omitempty"`
	Modified bool     `json:"modified,omitempty"` // the revision's tree had changes
	Time     string   `json:"time,omitempty"`     // of the revision
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	Protocol protocol `json:"protocol"`
}

// protocol is a range of versions of the wire protocol.
type protocol struct {
	Lowest  int `json:"lowest"`
	Highest int `json:"highest"`
}

// currentVersion returns the version of this binary.
func currentVersion() versionInfo {
	info, _ := debug.ReadBuildInfo()
	return newVersionInfo(info)
}

// newVersionInfo returns the version according to info, which may be nil.
func newVersionInfo(info *debug.BuildInfo) versionInfo {
	v := versionInfo{
		Version:  "(devel)",
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Protocol: protocol{wire.LowestVersion, wire.HighestVersion},
	}
	if info == nil {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		case "vcs.time":
			v.Time = s.Value
		}
	}
	return v
}

func (v versionInfo) print(out io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(v)
	}
	_, err := io.WriteString(out, v.String())
	return err
}

// String returns the output of "bridge version" and "bridge --version".
func (v versionInfo) String() string {
	s := fmt.Sprintf("bridge %s\n", v.Version)
	if v.Revision != "" {
		modified := ""
		if v.Modified {
			modified = " with changes"
		}
		s += fmt.Sprintf("revision %s%s, %s\n", v.Revision, modified, v.Time)
	}
	return s + fmt.Sprintf("%s %s, protocol %d to %d\n", v.Go, v.Platform, v.Protocol.Lowest, v.Protocol.Highest)
}
