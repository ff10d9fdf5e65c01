package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
)

func newConfig() *cobra.Command {
	command := &cobra.Command{
		Use:   "config",
		Short: "Check, print and describe the settings of bridge serve",
		Long: `Check, print and describe the settings of "bridge serve", without serving. Each of
these commands takes the flags of "bridge serve", and reads the same environment
and file.`,
		Example: `  bridge config validate --config bridge.yaml
  POLLBRIDGE_HOLD=12s bridge config print --config bridge.yaml
  bridge config schema > bridge.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &usageError{fmt.Errorf("want validate, print or schema")}
		},
	}
	command.AddCommand(newConfigValidate(), newConfigPrint(), newConfigSchema())
	return command
}

func newConfigValidate() *cobra.Command {
	return withSettings(&cobra.Command{
		Use:   "validate",
		Short: "Check the settings, and the files that they name",
		Long: `Check the settings, and the files that they name, as "bridge serve" does before it
listens. Nothing is served. The exit code is 0 if they are good and 2 if not; each
mistake is told with the flag, the variable, or the file and line that made it.`,
		Example: `  bridge config validate --config bridge.yaml`,
	}, func(settings *config.Settings, out io.Writer) error {
		if err := tryOut(settings); err != nil {
			return &usageError{err}
		}
		_, err := fmt.Fprintln(out, "the settings are good")
		return err
	})
}

// tryOut creates everything that "bridge serve" creates before it listens.
func tryOut(settings *config.Settings) error {
	parts, err := newParts(settings, slog.New(slog.DiscardHandler), io.Discard, io.Discard)
	if err != nil {
		return err
	}
	defer parts.close()
	server, err := bridge.New(parts.cfg)
	if err != nil {
		return settings.Explain(err)
	}
	return server.Shutdown(context.Background())
}

func newConfigPrint() *cobra.Command {
	return withSettings(&cobra.Command{
		Use:   "print",
		Short: "Print every setting that has a value, and where the value comes from",
		Long: `Print every setting that has a value, as a file for --config, and beside each where
the value comes from: a flag, a variable, a file and line, or "default". Secrets
are hidden.`,
		Example: `  bridge config print --config bridge.yaml --hold 12s`,
	}, func(settings *config.Settings, out io.Writer) error { return settings.Print(out) })
}

func newConfigSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the file",
		Long: `Print the JSON Schema of the file that --config names. Editors complete and check
with it; those with yaml-language-server when the file begins so:

  # yaml-language-server: $schema=bridge.schema.json`,
		Example: `  bridge config schema > bridge.schema.json`,
		Args:    takes(),
		RunE: func(command *cobra.Command, _ []string) error {
			text, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), string(text))
			return err
		},
	}
}

// withSettings adds the flags of "bridge serve" to a command, and runs it with the
// settings.
func withSettings(command *cobra.Command, run func(*config.Settings, io.Writer) error) *cobra.Command {
	flags := config.NewFlags(command.Flags())
	completeWords(command)
	command.Args = takes()
	command.SetUsageFunc(func(command *cobra.Command) error {
		_, err := fmt.Fprintf(command.OutOrStderr(), "Usage:\n  %s\n\nExamples:\n%s\n\nFlags are those of \"bridge serve\".\n", command.UseLine(), command.Example)
		return err
	})
	command.RunE = func(command *cobra.Command, _ []string) error {
		settings, err := flags.Load(os.Environ())
		if err != nil {
			return &usageError{err}
		}
		return run(settings, command.OutOrStdout())
	}
	return command
}

// completeWords lets shells complete the values of flags with fixed values.
func completeWords(command *cobra.Command) {
	for _, o := range config.Options() {
		if o.Words != nil {
			// It fails only for an unknown flag.
			_ = command.RegisterFlagCompletionFunc(o.Name, cobra.FixedCompletions(o.Words, cobra.ShellCompDirectiveNoFileComp))
		}
	}
}
