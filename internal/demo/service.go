package demo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/internal/demo/demopb"
)

// Limits of the service, as documented in demo.proto.
const (
	maxName     = 100
	maxCount    = 10_000
	maxInterval = 10_000 // milliseconds
	maxUpload   = 64 << 20
	maxDownload = 64 << 20
	maxEcho     = 10_000
)

// Register adds the demo service, with a chat of its own, to a gRPC server.
func Register(r grpc.ServiceRegistrar) {
	demopb.RegisterDemoServer(r, &service{chat: newChat()})
}

type service struct {
	demopb.UnimplementedDemoServer
	chat *chat
}

func (*service) Greet(_ context.Context, in *demopb.GreetRequest) (*demopb.GreetResponse, error) {
	if err := checkText("name", in.GetName(), 1, maxName); err != nil {
		return nil, err
	}
	return &demopb.GreetResponse{Greeting: "Hello, " + in.GetName() + "!"}, nil
}

func (*service) Count(in *demopb.CountRequest, stream grpc.ServerStreamingServer[demopb.CountResponse]) error {
	if err := checkNumber("to", in.GetTo(), 1, maxCount); err != nil {
		return err
	}
	if err := checkNumber("interval_ms", in.GetIntervalMs(), 0, maxInterval); err != nil {
		return err
	}
	interval := time.Duration(in.GetIntervalMs()) * time.Millisecond
	for n := range in.GetTo() {
		if n > 0 {
			if err := sleep(stream.Context(), interval); err != nil {
				return err
			}
		}
		if err := stream.Send(&demopb.CountResponse{Number: n + 1}); err != nil {
			return err
		}
	}
	return nil
}

func (*service) Upload(stream grpc.ClientStreamingServer[demopb.UploadRequest, demopb.UploadResponse]) error {
	var out demopb.UploadResponse
	sum := sha256.New()
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			out.Sha256 = sum.Sum(nil)
			return stream.SendAndClose(&out)
		}
		if err != nil {
			return err
		}
		out.Messages++
		out.Bytes += uint64(len(in.GetChunk()))
		if out.Bytes > maxUpload {
			return status.Errorf(codes.ResourceExhausted, "chunk: %d bytes so far, the limit of an upload is %d", out.Bytes, maxUpload)
		}
		sum.Write(in.GetChunk())
	}
}

func (*service) Download(in *demopb.DownloadRequest, stream grpc.ServerStreamingServer[demopb.DownloadResponse]) error {
	if err := checkNumber("bytes", in.GetBytes(), 1, maxDownload); err != nil {
		return err
	}
	for chunk := range chunks(int(in.GetBytes())) {
		if err := stream.Send(&demopb.DownloadResponse{Chunk: chunk}); err != nil {
			return err
		}
	}
	return nil
}

func (*service) Echo(stream grpc.BidiStreamingServer[demopb.EchoRequest, demopb.EchoResponse]) error {
	for number := uint64(1); ; number++ {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := checkText("text", in.GetText(), 0, maxEcho); err != nil {
			return err
		}
		if err := stream.Send(&demopb.EchoResponse{Text: in.GetText(), Number: number}); err != nil {
			return err
		}
	}
}

// sleep waits for d. If ctx ends before, it returns that as a gRPC status.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// checkText returns an INVALID_ARGUMENT unless text has least to most characters.
func checkText(field, text string, least, most int) error {
	return checkNumber(field+" length", utf8.RuneCountInString(text), least, most)
}

// checkNumber returns an INVALID_ARGUMENT unless least <= n <= most.
func checkNumber[N int | uint32](field string, n, least, most N) error {
	if least <= n && n <= most {
		return nil
	}
	return status.Error(codes.InvalidArgument, fmt.Sprintf("%s: %d is not in %d to %d", field, n, least, most))
}
