// Command bridge runs a Pollbridge bridge and the tools around it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // something went wrong at run time
	exitUsage  = 2 // wrong usage or configuration; nothing was done
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program. It returns the exit code.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)

	// An error before a command runs is wrong usage.
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }

	command, err := root.ExecuteContextC(context.Background())
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errSaid) {
		return exitFailed
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintf(errOut, "%s: %s\n", command.CommandPath(), line)
		}
	}
	_, wrong := errors.AsType[*usageError](err)
	if started && !wrong {
		return exitFailed
	}
	fmt.Fprintf(errOut, "See \"%s --help\".\n", command.CommandPath())
	return exitUsage
}

// errSaid is a failure that the command has already reported.
var errSaid = errors.New("failed")

// usageError is an error that makes the program exit with exitUsage.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "bridge",
		Short: "Let web pages call gRPC services through any network",
		Long: `Bridge lets web pages call any gRPC service, all four kinds of RPC, through any
network that lets an HTTP/1.1 request through: over WebSocket where that works,
over plain long-polling where it does not.`,
		Example: `  bridge demo                                  # see it work
  bridge serve --backend localhost:50051       # put it in front of a gRPC server
  bridge check https://example.com             # find out what the network lets through
  bridge sessions --admin 127.0.0.1:9090       # see who is connected
  bridge call https://example.com pkg.Greeter/SayHello -d '{"name": "you"}'`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.Version = currentVersion().String()
	root.SetVersionTemplate("{{.Version}}")
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprint(".FlagUsagesWrapped ", usageWidth)))
	root.AddCommand(newServe(), newConfig(), newSessions(), newSession(), newKick(), newDrain(), newDemo(), newCheck(), newCall(), newVersion(), newMan())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	plainSwitches(root)
	return root
}

// flagError adds a suggestion to pflag's error about an unknown flag.
func flagError(command *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || len(unknown.GetSpecifiedName()) < 2 {
		return err
	}
	var names []string
	command.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return errors.New(config.Unknown("flag", unknown.GetSpecifiedName(), names))
}
