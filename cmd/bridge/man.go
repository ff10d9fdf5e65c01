package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan returns the command "man", for packagers.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write a manual page for each command into DIR",
		Long:    `Write a manual page for each command, bridge.1, bridge-serve.1 and so on, into DIR, which must be there.`,
		Example: `  bridge man /usr/local/share/man/man1`,
		Args:    takes("DIR"),
		Hidden:  true,
		RunE: func(command *cobra.Command, args []string) error {
			if info, err := os.Stat(args[0]); err != nil || !info.IsDir() {
				return &usageError{fmt.Errorf("%q is no directory", args[0])}
			}
			root := command.Root()
			root.DisableAutoGenTag = true // the same pages from the same source
			return doc.GenManTree(root, &doc.GenManHeader{Title: "BRIDGE", Section: "1", Source: "Pollbridge", Manual: "Pollbridge"}, args[0])
		},
	}
}
