package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/call"
)

// callOptions are the flags of "bridge call".
type callOptions struct {
	reach         reach
	data          []string
	metadata      []string
	transport     string
	maxTime       time.Duration
	descriptorSet string
	compact       bool
	verbose       bool
}

func newCall() *cobra.Command {
	var o callOptions
	command := &cobra.Command{
		Use:   "call URL METHOD",
		Short: "Call a method through a bridge, with messages in JSON",
		Long: `Call a method of any kind through the bridge at URL, with messages in JSON. A URL
without a path means the prefix /bridge.

The types come from --descriptor-set, or else from the backend's server
reflection, which a bridge forwards only if --allow-method allows it.

Each response is printed as it arrives. A status other than OK is printed to
standard error with its details, and the exit code is 1. Ctrl-C cancels the RPC.`,
		Example: `  bridge call http://localhost:8080 pkg.Greeter/SayHello -d '{"name": "you"}'
  bridge call http://localhost:8080 pkg.Chat/Talk -d - < messages.ndjson
  bridge call http://localhost:8080 pkg.Upload/Send -d @part1.json -d @part2.json \
    -H 'authorization: Bearer abc' --transport longpoll --max-time 10s

  # without server reflection
  protoc --include_imports --descriptor_set_out=api.binpb api.proto
  bridge call http://localhost:8080 pkg.Greeter/SayHello --descriptor-set api.binpb -d '{}'`,
		Args: takes("URL", "METHOD"),
		RunE: func(command *cobra.Command, args []string) error { return o.run(command, args[0], args[1]) },
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringArrayVarP(&o.data, "data", "d", nil,
		"messages to send, as `JSON`, @FILE, or - for standard input; each may hold several (repeatable; default one empty message, or none if the method takes a stream)")
	flags.StringArrayVarP(&o.metadata, "header", "H", nil, "metadata to send, as `'KEY: VALUE'`; base64 for a key in -bin (repeatable)")
	flags.StringVar(&o.transport, "transport", "auto", "auto, ws or longpoll: the `TRANSPORT` to use")
	flags.DurationVar(&o.maxTime, "max-time", 0, "deadline of the RPC: a `DURATION` from its start, such as 10s (default none)")
	flags.StringVar(&o.descriptorSet, "descriptor-set", "", "`FILE` with the types, as written by protoc --include_imports --descriptor_set_out=FILE")
	flags.BoolVar(&o.compact, "compact", false, "print each response on one line")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "also print response headers and trailers, to standard error")
	o.reach.addFlags(flags)
	return command
}

func (o *callOptions) run(command *cobra.Command, url, method string) error {
	request := call.Request{
		Method:   method,
		Messages: call.Read(o.data, command.InOrStdin()),
		Compact:  o.compact,
		Headers:  o.verbose,
		Notes:    command.ErrOrStderr(),
	}
	var err error
	if request.Metadata, err = call.ParseMetadata(o.metadata); err != nil {
		return &usageError{fmt.Errorf("--header: %w", err)}
	}
	if o.descriptorSet != "" {
		if request.Descriptors, err = os.ReadFile(o.descriptorSet); err != nil {
			return &usageError{fmt.Errorf("--descriptor-set: %w", err)}
		}
	}
	channel, err := o.channel(url)
	if err != nil {
		return err
	}
	defer channel.Close()
	ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if o.maxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.maxTime)
		defer cancel()
	}
	err = call.Run(ctx, channel, request, command.OutOrStdout())
	if _, wrong := errors.AsType[*call.InputError](err); wrong {
		return &usageError{err}
	}
	return err
}

func (o *callOptions) channel(url string) (*client.Channel, error) {
	cfg, err := o.reach.config()
	if err != nil {
		return nil, err
	}
	switch o.transport {
	case "auto":
	case "ws", "longpoll":
		cfg.Transports = []string{o.transport}
	default:
		return nil, &usageError{fmt.Errorf("--transport: %q is wrong, want auto, ws or longpoll", o.transport)}
	}
	channel, err := client.New(url, cfg)
	if err != nil {
		return nil, &usageError{err}
	}
	return channel, nil
}
