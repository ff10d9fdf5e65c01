package main

import (
	"fmt"
	"strings"

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

// takes returns the check that a command has one argument for each of these names,
// and one or more where there is only one name, which ends in "...".
func takes(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		many := len(names) == 1 && strings.HasSuffix(names[0], "...")
		switch {
		case len(args) == len(names) || many && len(args) > 0:
			return nil
		case len(args) > len(names):
			return fmt.Errorf("unexpected argument %q", args[len(names)])
		}
		return fmt.Errorf("no %s given, want %s", strings.TrimSuffix(names[len(args)], "..."), strings.Join(names, " "))
	}
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
