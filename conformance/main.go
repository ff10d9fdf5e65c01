// Command conformance is the client under test of the public conformance suite
// for RPC implementations (connectrpc.com/conformance). Its standard input
// names the RPCs to run; it runs them through a bridge in this process and
// writes what the caller saw to its standard output. run.sh runs the suite.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/conformance/gen/conformancepb"
)

// parallel is how many RPCs run at once.
const parallel = 8

func main() {
	var cfg config
	flag.StringVar(&cfg.transport, "transport", "auto", "ws, longpoll, or auto: the session chooses and switches")
	flag.StringVar(&cfg.network, "network", "plain", "plain; buffered: a middlebox passes nothing on before it has all of it; "+
		"cut: each connection is cut after 20 to 200 ms; switched: so is each WebSocket, and nothing else")
	flag.StringVar(&cfg.backend, "serve", "", "be the server under test, a bridge in front of this `PROGRAM`, a server of the suite's")
	flag.BoolVar(&cfg.passJSON, "pass-json", false, "with -serve, pass JSON on as it is, instead of converting it")
	flag.BoolVar(&cfg.fresh, "fresh", false, "a session for each RPC: with auto, it begins on longpoll")
	flag.Parse()
	do := run
	if cfg.backend != "" {
		do = serveBridge
	}
	if err := do(cfg, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(cfg config, in io.Reader, out io.Writer) (err error) {
	routes, err := newRoutes(cfg)
	if err != nil {
		return err
	}
	answers := &answers{out: out}
	var cases sync.WaitGroup
	defer func() {
		cases.Wait()
		err = errors.Join(err, answers.err, routes.close())
	}()
	turns := make(chan struct{}, parallel)
	for in := bufio.NewReader(in); ; {
		request := new(conformancepb.ClientCompatRequest)
		if err := readMessage(in, request); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		turns <- struct{}{}
		cases.Go(func() {
			answers.write(answer(routes, request))
			<-turns
		})
	}
}

// answer runs a case.
func answer(routes *routes, request *conformancepb.ClientCompatRequest) *conformancepb.ClientCompatResponse {
	response := &conformancepb.ClientCompatResponse{TestName: request.GetTestName()}
	result, err := func() (*conformancepb.ClientResponseResult, error) {
		channel, done, err := routes.channel(request)
		if err != nil {
			return nil, err
		}
		defer done()
		return call(context.Background(), channel, request)
	}()
	if err != nil {
		response.Result = &conformancepb.ClientCompatResponse_Error{Error: &conformancepb.ClientErrorResult{Message: err.Error()}}
		return response
	}
	response.Result = &conformancepb.ClientCompatResponse_Response{Response: result}
	return response
}

// The suite's messages are preceded by their length, in four bytes.

func readMessage(in io.Reader, m proto.Message) error {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return err
	}
	text := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(in, text); err != nil {
		return fmt.Errorf("request cut: %w", err)
	}
	return proto.Unmarshal(text, m)
}

// answers writes one message at a time, in any order of the cases.
type answers struct {
	mu  sync.Mutex
	out io.Writer
	err error // the first; nothing is written after it
}

func (a *answers) write(m proto.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return
	}
	text, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 4), m)
	if err == nil {
		binary.BigEndian.PutUint32(text, uint32(len(text)-4)) //nolint:gosec // far below 4 GiB
		_, err = a.out.Write(text)
	}
	a.err = err
}
