package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
)

// usageWidth is the column at which the help of flags wraps.
const usageWidth = 100

// groupedUsage prints cobra's usage, with the flags of config.Options under the
// headings of their groups.
func groupedUsage(command *cobra.Command) error {
	out := command.OutOrStderr()
	fmt.Fprintf(out, "Usage:\n  %s\n\nExamples:\n%s\n", command.UseLine(), command.Example)

	grouped := map[string]bool{}
	options := config.Options()
	for len(options) > 0 {
		group := pflag.NewFlagSet("", pflag.ContinueOnError)
		group.SortFlags = false
		title := options[0].Group
		for len(options) > 0 && options[0].Group == title {
			group.AddFlag(command.Flags().Lookup(options[0].Name))
			grouped[options[0].Name] = true
			options = options[1:]
		}
		fmt.Fprintf(out, "\n%s:\n%s", title, group.FlagUsagesWrapped(usageWidth))
	}
	others := pflag.NewFlagSet("", pflag.ContinueOnError)
	command.Flags().VisitAll(func(f *pflag.Flag) {
		if !grouped[f.Name] {
			others.AddFlag(f)
		}
	})
	_, err := fmt.Fprintf(out, "\nOther:\n%s", others.FlagUsagesWrapped(usageWidth))
	return err
}

// plainSwitches makes the help of a command and its subcommands show switches as
// "--json", not as "--json[=true|false]".
func plainSwitches(command *cobra.Command) {
	command.InitDefaultHelpFlag()
	command.InitDefaultVersionFlag()
	command.Flags().VisitAll(func(f *pflag.Flag) {
		if _, known := f.Value.(interface{ IsBoolFlag() bool }); known {
			f.Value = plainSwitch{f.Value}
		}
	})
	for _, sub := range command.Commands() {
		plainSwitches(sub)
	}
}

// plainSwitch hides the method by which pflag recognizes its own switches.
type plainSwitch struct{ pflag.Value }
