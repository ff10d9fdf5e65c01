package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/conformance/gen/conformancepb"
)

// serveBridge is the server under test: a bridge that serves clients without a
// session, in front of the suite's own server, which is the program called
// backend. It serves until it gets SIGTERM.
func serveBridge(cfg config, in io.Reader, out io.Writer) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	request := new(conformancepb.ServerCompatRequest)
	if err := readMessage(in, request); err != nil {
		return err
	}
	target, end, err := startBackend(ctx, cfg.backend)
	if err != nil {
		return err
	}
	defer end()
	types, err := writeTypes()
	if err != nil {
		return err
	}
	defer os.Remove(types) //nolint:errcheck // a file in the temporary folder
	b, err := bridge.New(bridge.Config{
		RPC:             true,
		Descriptors:     types,
		Backends:        []bridge.Backend{{Target: target, Services: []string{suiteService}, DialOptions: unlimitedReplies, JSON: cfg.passJSON}},
		MaxMessageBytes: int(request.GetMessageReceiveLimit()),
	})
	if err != nil {
		return err
	}
	response, server, err := listen(request, b)
	if err != nil {
		return err
	}
	answers := &answers{out: out}
	answers.write(response)
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return errors.Join(answers.err, b.Shutdown(ctx), server.Close())
}

const suiteService = "connectrpc.conformance.v1.ConformanceService"

// unlimitedReplies lifts the bridge's limit for the way back: the suite means
// requests by it.
var unlimitedReplies = []grpc.DialOption{
	grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		return invoke(ctx, method, req, reply, cc, append(opts, grpc.MaxCallRecvMsgSize(math.MaxInt32))...)
	}),
	grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		return streamer(ctx, desc, cc, method, append(opts, grpc.MaxCallRecvMsgSize(math.MaxInt32))...)
	}),
}

// writeTypes writes the suite's types to a file, for the bridge to convert JSON
// with.
func writeTypes() (path string, err error) {
	set := new(descriptorpb.FileDescriptorSet)
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}
	add(conformancepb.File_connectrpc_conformance_v1_service_proto)
	data, err := proto.Marshal(set)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "conformance-*.binpb")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	return f.Name(), errors.Join(err, f.Close())
}

// startBackend starts the suite's server and returns where it is.
func startBackend(ctx context.Context, program string) (target string, end func(), err error) {
	command := exec.CommandContext(ctx, program, "-port", "0")
	command.Stderr = os.Stderr
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 2 * time.Second
	stdin, err1 := command.StdinPipe()
	stdout, err2 := command.StdoutPipe()
	if err := errors.Join(err1, err2, command.Start()); err != nil {
		return "", nil, err
	}
	answers := &answers{out: stdin}
	answers.write(&conformancepb.ServerCompatRequest{
		Protocol: conformancepb.Protocol_PROTOCOL_GRPC, HttpVersion: conformancepb.HTTPVersion_HTTP_VERSION_2,
	})
	response := new(conformancepb.ServerCompatResponse)
	if err := errors.Join(answers.err, readMessage(bufio.NewReader(stdout), response)); err != nil {
		return "", nil, err
	}
	end = func() {
		_ = command.Cancel() // it may have ended with ctx
		_ = command.Wait()   // its error is the signal
	}
	return net.JoinHostPort(response.GetHost(), strconv.Itoa(int(response.GetPort()))), end, nil
}

// listen serves the bridge as the suite asks for.
func listen(request *conformancepb.ServerCompatRequest, b *bridge.Server) (*conformancepb.ServerCompatResponse, *http.Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	response := &conformancepb.ServerCompatResponse{Host: "127.0.0.1", Port: uint32(listener.Addr().(*net.TCPAddr).Port)} //nolint:gosec // a port
	server := &http.Server{Handler: b, ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	if request.GetUseTls() {
		response.PemCert = request.GetServerCreds().GetCert()
		if server.TLSConfig, err = serverTLS(request); err != nil {
			return nil, nil, err
		}
	}
	go func() { _ = b.Serve(server, listener) }() // ends with Close
	return response, server, nil
}

func serverTLS(request *conformancepb.ServerCompatRequest) (*tls.Config, error) {
	certificate, err := tls.X509KeyPair(request.GetServerCreds().GetCert(), request.GetServerCreds().GetKey())
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	if trusted := request.GetClientTlsCert(); len(trusted) > 0 {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !cfg.ClientCAs.AppendCertsFromPEM(trusted) {
			return nil, errors.New("no certificate to trust clients by")
		}
	}
	return cfg, nil
}
